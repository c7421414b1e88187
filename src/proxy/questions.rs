//! What a session asks of its shell for the answers it gives itself.

use std::time::{Duration, Instant};

use super::client::{ClientTask, End};
use super::freshness::{Outcome, Search};
use super::seek::Sought;
use crate::routing::{Consistency, Need, OwnSetting, Target, later};
use crate::session::Question;
use crate::topology::NodeId;

/// How long a transaction on a standby waits for a catalog: large ones take a second or two to load.
const CATALOG_LIMIT: Duration = Duration::from_secs(3);

impl ClientTask {
    /// Answers a question of the session.
    pub(super) async fn answer(&mut self, question: Question) -> Result<(), End> {
        let answer = match question {
            Question::Token => self.stand().await?.map(|token| token.to_string()).unwrap_or_default(),
            Question::Node(need) => self.explain_node(need).await?,
            Question::Catalog => {
                self.catalog.until_current(CATALOG_LIMIT).await;
                return Ok(());
            }
        };
        self.session.tell(&answer);
        Ok(())
    }

    /// Looks for a node as the statement itself would, waiting if that would wait. Returns the node's name, and on lines
    /// of their own what the read must see and who shows it.
    async fn explain_node(&mut self, need: Need) -> Result<String, End> {
        let avoid = self.out_of_reach();
        if self.checkout.is_some() || need.target == Target::Primary {
            let placed = self.place(need, avoid, Instant::now());
            return Ok(placed.map_or_else(|none| format!("none: {none}"), |placed| self.name_of(placed.node)));
        }
        let began = Instant::now();
        let mut search = Search::new(began);
        let sought = self.seek(need, avoid, &mut search).await?;
        let waited = began.elapsed().as_millis();
        let (node, found) = match sought {
            Sought::Node(placed) => {
                let node = self.name_of(placed.node);
                let found = match search.outcome {
                    Some(Outcome::Primary) => format!(
                        "no standby showed it within {waited} ms, and bellwether.on_stale = {}",
                        self.session.wishes().show(OwnSetting::OnStale)
                    ),
                    Some(Outcome::Waited) => format!("{node} shows it, after {waited} ms"),
                    Some(_) => format!("{node} shows it"),
                    None if placed.is_primary => String::from("no standby serves reads"),
                    None if placed.must.home().is_some() => format!("{node} is where it read last"),
                    None => String::from("any standby will do"),
                };
                (node, found)
            }
            Sought::None => (String::from("none"), String::from("no node is known")),
            Sought::NoStandby => (String::from("none"), String::from("no standby serves reads")),
            Sought::Refused(error) => (String::from("none"), error.message.to_string()),
        };
        Ok(format!("{node}\n{}\n{found}{}", self.what_must_be_seen(), self.where_standbys_are()))
    }

    fn name_of(&self, node: NodeId) -> String {
        let snapshot = self.worker.shared.snapshot();
        snapshot.node(node).map_or_else(String::new, |view| view.node.name.to_string())
    }

    /// Says what the next read must see.
    fn what_must_be_seen(&self) -> String {
        let wishes = self.session.wishes();
        let token = later(self.reads.seen.token, wishes.token);
        match (wishes.consistency, token) {
            (Consistency::Eventual, _) => String::from("it may see what any standby has"),
            (Consistency::Bounded, _) => format!(
                "it must be within {} and {} of the primary",
                wishes.show(OwnSetting::MaxStalenessBytes),
                wishes.show(OwnSetting::MaxStaleness)
            ),
            (Consistency::Strong, _) => String::from("it must see every commit acknowledged before it"),
            (Consistency::Session, Some(token)) => {
                format!("it must show {token}, which the session wrote or saw")
            }
            (Consistency::Session, None) if self.reads.seen.read.is_some() => {
                String::from("it must not see less than the session read before")
            }
            (Consistency::Session, None) => String::from("the session has written and seen nothing yet"),
        }
    }

    /// Says how far each standby that serves reads was when it was asked last.
    fn where_standbys_are(&self) -> String {
        let (snapshot, positions) = (self.worker.shared.snapshot(), &self.worker.shared.positions);
        let lines = snapshot.readable_standbys().map(|view| match positions.latest(view.node.id) {
            Some(sample) => format!("\n{} was at {}", view.node.name, sample.at),
            None => format!("\n{} has not been asked", view.node.name),
        });
        lines.collect()
    }
}

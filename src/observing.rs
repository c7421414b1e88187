//! What an operator can have from a proxy that only observes: the truth as seen here, and its own reads moved.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use bellwether::api::{
    Candidate, End, Explanation, Later, NodeFacts, Operations, Outcome, Overview, Past, Progress, Requester,
    Step, Wish,
};
use bellwether::coordinator;
use bellwether::pool::Registry;
use bellwether::topology::{NodeId, NodeName, NodeView, Role, Snapshot};

/// The operations of a proxy without an agreement store.
pub struct Observing {
    /// Sees the nodes, and keeps reads away from them.
    pub topology: coordinator::Handle,
    /// Closes connections to a drained node.
    pub registry: Arc<Registry>,
}

/// How long the coordinator may take to publish a drained node. It does so at once; this is for when it is stuck.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(5);

impl Operations for Observing {
    fn request(&self, wish: Wish, _by: Requester) -> mpsc::Receiver<Progress> {
        match wish {
            Wish::Drain(node) => self.drain(&node, true),
            Wish::Undrain(node) => self.drain(&node, false),
            _ => only_observes().at_once(),
        }
    }

    fn overview(&self) -> Overview {
        Overview { failover: "observe", primary_since: self.topology.primary_since(), ..Overview::default() }
    }

    fn node(&self, node: NodeId) -> NodeFacts {
        let seen = self.topology.seen(node);
        NodeFacts {
            checked: seen.checked_at.map(|at| at.elapsed()),
            drained: seen.drained,
            no_reads: seen.no_reads.map(str::to_owned),
            ..NodeFacts::default()
        }
    }

    fn history(&self) -> Later<Vec<Past>> {
        let changes = self.topology.past_primaries();
        let past = changes.into_iter().map(|led| Past {
            at: led.at,
            kind: "observed",
            from: led.from,
            to: Some(led.to),
            timeline: led.timeline.map(|timeline| timeline.0),
            term: led.term,
            down: Some(led.down),
            steps: Vec::new(),
            lost_bytes: None,
            reason: led.reason,
            by: None,
        });
        let past: Vec<Past> = past.collect();
        Box::pin(async move { Ok(past) })
    }

    fn explain(&self) -> Explanation {
        explain(&self.topology.snapshot())
    }
}

impl Observing {
    fn drain(&self, name: &NodeName, drained: bool) -> mpsc::Receiver<Progress> {
        let snapshot = self.topology.snapshot();
        let Some(view) = snapshot.by_name(name) else {
            let end = End::new(Outcome::NotFound, format!("there is no node {name}"));
            return end.hint(format!("the nodes are {}", names(&snapshot))).at_once();
        };
        if drained && snapshot.primary == Some(view.node.id) {
            let end = End::new(
                Outcome::Refused,
                format!("{name} is the primary: no other node could take its writes"),
            );
            return end.hint("move the primary to another node first, then drain this one").at_once();
        }
        let (sender, receiver) = mpsc::channel(8);
        let work =
            Draining { topology: self.topology.clone(), registry: self.registry.clone(), node: view.node.id };
        let name = name.clone();
        tokio::spawn(async move {
            let end = work.carry_out(&name, drained, &sender).await;
            // Whoever asked may be gone; it is done all the same.
            let _ = sender.send(Progress::End(end)).await;
        });
        receiver
    }
}

struct Draining {
    topology: coordinator::Handle,
    registry: Arc<Registry>,
    node: NodeId,
}

impl Draining {
    async fn carry_out(&self, name: &NodeName, drained: bool, told: &mpsc::Sender<Progress>) -> End {
        let began = Instant::now();
        let tell = async |what: String, note: Option<String>| {
            let step = Step { what, note };
            let _ = told.send(Progress::Step { seconds: began.elapsed().as_secs_f64(), step }).await;
        };
        let published = self.topology.set_drained(self.node, drained);
        if !matches!(tokio::time::timeout(PUBLISHED_WITHIN, published).await, Ok(Ok(()))) {
            return End::new(Outcome::Unknown, "the nodes are not being looked after right now")
                .hint(format!("bellwether node show {name} tells whether it is drained"));
        }
        let snapshot = self.topology.snapshot();
        if !drained {
            let serves = snapshot.node(self.node).is_some_and(|view| view.serves_reads);
            let why = self.topology.seen(self.node).no_reads.unwrap_or("it is the primary");
            let note = (!serves).then(|| format!("but takes no reads: {why}"));
            tell(format!("{name} is no longer drained"), note).await;
            return End::new(Outcome::Done, format!("{name} takes work again at this proxy"));
        }
        let others = snapshot.readable_standbys().count();
        let note = (others == 0).then(|| "no standby is left, the primary serves reads".to_owned());
        tell(format!("{name} gets no new reads"), note).await;
        self.registry.retire_node(self.node);
        let pools = self.registry.pools();
        let in_use: usize =
            pools.iter().filter(|pool| pool.node() == self.node).map(|pool| pool.stats().counts.in_use).sum();
        let note = (in_use > 0).then(|| format!("{in_use} in use, closed when their transactions end"));
        tell("idle connections closed".to_owned(), note).await;
        End::new(Outcome::Done, format!("{name} is drained at this proxy, until it restarts"))
            .hint(format!("to undo: bellwether node undrain {name}"))
    }
}

/// What is said to every wish that needs a leader.
fn only_observes() -> End {
    End::new(Outcome::Unsupported, "this proxy only observes: no etcd is configured")
        .cause(
            "failover = \"observe\" means that somebody else promotes, and Bellwether follows what it sees",
        )
        .hint("use the tool that leads this cluster")
}

fn explain(snapshot: &Snapshot) -> Explanation {
    let verdict = match snapshot.primary() {
        Some(view) => format!("{} leads: it is the node that accepts writes", view.node.name),
        None => "there is no primary: no node that may be followed accepts writes".to_owned(),
    };
    let waits_for = match snapshot.primary {
        Some(_) => Vec::new(),
        None => vec!["somebody to promote a standby, or the primary to come back".to_owned()],
    };
    let candidate = |view: &NodeView| Candidate {
        name: view.node.name.to_string(),
        may_lead: None,
        reason: match &view.role {
            Role::Unknown { reason } => reason.clone(),
            _ if snapshot.primary == Some(view.node.id) => "it leads".to_owned(),
            Role::Primary { .. } => "it accepts writes, and another one is followed".to_owned(),
            Role::Standby(_) => "this proxy only observes: it promotes nobody".to_owned(),
        },
    };
    Explanation { verdict, waits_for, nodes: snapshot.members().map(candidate).collect() }
}

fn names(snapshot: &Snapshot) -> String {
    snapshot.members().map(|view| view.node.name.as_str()).collect::<Vec<_>>().join(", ")
}

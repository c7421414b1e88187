//! What a session asks of its shell for the answers it gives itself.

use std::time::Instant;

use super::client::{ClientTask, End};
use crate::session::Question;

impl ClientTask {
    /// Answers a question of the session.
    pub(super) async fn answer(&mut self, question: Question) -> Result<(), End> {
        let answer = match question {
            Question::Token => self.stand().await?.map(|token| token.to_string()).unwrap_or_default(),
            Question::Node(need) => match self.place(need, self.out_of_reach(), Instant::now()) {
                Ok(placed) => {
                    let snapshot = self.worker.shared.snapshot();
                    snapshot.node(placed.node).map_or_else(String::new, |view| view.node.name.to_string())
                }
                Err(none) => format!("none: {none}"),
            },
        };
        self.session.tell(&answer);
        Ok(())
    }
}

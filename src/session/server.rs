//! What the session on one server connection looks like: carried by the pool, read and changed by the machine.

/// State of one server's session that outlives a checkout.
#[derive(Debug)]
pub struct ServerState {
    reported: Vec<(Box<str>, Box<str>)>,
}

impl ServerState {
    /// Starts from the parameters the server reported when it was connected (ParameterStatus).
    pub fn new(reported: Vec<(Box<str>, Box<str>)>) -> Self {
        ServerState { reported }
    }

    /// Returns what the server last reported of parameter `name`.
    pub fn reported(&self, name: &str) -> Option<&str> {
        self.reported.iter().find(|(known, _)| &**known == name).map(|(_, value)| &**value)
    }
}

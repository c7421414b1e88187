//! Watches the nodes and publishes who is what.

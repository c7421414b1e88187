//! Names of the replication slots we make: one a node, told from everybody else's by how it begins.

use std::fmt::Write;

use crate::topology::NodeName;

/// What only our slots begin with.
const MARK: &str = "bellwether_";

/// Returns the slot for a node. Slot names have lower-case letters, digits and underscores only, so every other
/// byte is written as an underscore and two hexadecimal digits.
pub(super) fn name(node: &NodeName) -> String {
    let mut name = MARK.to_owned();
    for byte in node.as_str().bytes() {
        if byte.is_ascii_lowercase() || byte.is_ascii_digit() {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "_{byte:02x}");
        }
    }
    name
}

/// Returns whose slot this is; `None` for a slot we did not make.
pub(super) fn node(slot: &str) -> Option<NodeName> {
    let mut bytes = slot.strip_prefix(MARK)?.bytes();
    let mut node = Vec::new();
    while let Some(byte) = bytes.next() {
        node.push(match byte {
            b'_' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            plain => plain,
        });
    }
    let found = NodeName::new(std::str::from_utf8(&node).ok()?);
    // A name that we would have written otherwise is somebody else's.
    (name(&found) == slot).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_tells_its_node_and_others_are_nobodys() {
        for text in ["b", "db-1.example", "Node_7", "ü"] {
            let slot = name(&NodeName::new(text));
            assert!(
                slot.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            );
            assert_eq!(node(&slot), Some(NodeName::new(text)), "{slot}");
        }
        for other in ["b", "bellwether", "bellwether__", "bellwether__zz", "bellwether__61", "bellwether_B"] {
            assert_eq!(node(other), None, "{other}");
        }
    }
}

//! What is the same on a standby as on the primary within a READ ONLY transaction, and which modes BEGIN and SET
//! TRANSACTION name.
//!
//! Names are judged elsewhere; this is about the statements themselves. What fails on both with the same error is left to
//! fail there.

use super::nodes::{TransactionStmtKind, VariableSetKind};
use super::{Node, NodeList, constant, nodes, truth, utility::CURSOR_OPT_HOLD};
use crate::sql::effects::Modes;

/// Tells whether a statement that is no query does the same on a standby, apart from what the names in it mean.
pub(super) fn is_same_on_standby(node: Node<'_>) -> bool {
    match node {
        Node::TransactionStmt(it) => transaction(it),
        Node::VariableSetStmt(it) => set(it),
        Node::VariableShowStmt(it) => !it.name().is_some_and(tells_of_the_node),
        // A portal of this transaction, made where it is.
        Node::FetchStmt(_) | Node::ClosePortalStmt(_) | Node::ConstraintsSetStmt(_) => true,
        // A cursor that outlives the transaction would keep the session on a standby.
        Node::DeclareCursorStmt(it) => it.options & CURSOR_OPT_HOLD == 0,
        Node::PrepareStmt(_) | Node::ExecuteStmt(_) | Node::DeallocateStmt(_) => true,
        Node::ExplainStmt(it) => is_query(it.query()),
        Node::CopyStmt(it) => {
            !it.is_from
                && !it.is_program
                && it.filename().is_none()
                && (it.relation().is_some() || is_query(it.query()))
        }
        Node::LockStmt(it) => it.mode == ACCESS_SHARE,
        _ => false,
    }
}

/// Reads the modes that BEGIN, START TRANSACTION or SET TRANSACTION name; of several of a kind the last counts.
pub(super) fn modes(options: &NodeList) -> Modes {
    let mut modes = Modes::default();
    for option in options {
        let Node::DefElem(option) = option else { continue };
        match option.defname() {
            Some("transaction_read_only") => modes.read_only = truth(option.arg()),
            Some("transaction_isolation") => {
                modes.serializable = constant(option.arg()).map(|level| level == "serializable");
            }
            _ => {}
        }
    }
    modes
}

fn transaction(it: &nodes::TransactionStmt) -> bool {
    match it.kind {
        TransactionStmtKind::TRANS_STMT_BEGIN | TransactionStmtKind::TRANS_STMT_START => {
            modes(it.options()).suit_a_standby()
        }
        TransactionStmtKind::TRANS_STMT_COMMIT
        | TransactionStmtKind::TRANS_STMT_ROLLBACK
        | TransactionStmtKind::TRANS_STMT_SAVEPOINT
        | TransactionStmtKind::TRANS_STMT_RELEASE
        | TransactionStmtKind::TRANS_STMT_ROLLBACK_TO => true,
        _ => false,
    }
}

fn set(it: &nodes::VariableSetStmt) -> bool {
    let name = it.name().unwrap_or_default().to_ascii_lowercase();
    match it.kind {
        VariableSetKind::VAR_SET_MULTI if name == "transaction" => modes(it.args()).suit_a_standby(),
        // A snapshot belongs to the node that exported it.
        VariableSetKind::VAR_SET_MULTI => name == "session characteristics",
        VariableSetKind::VAR_RESET_ALL => true,
        _ => !name.starts_with("transaction_"),
    }
}

fn is_query(node: Node<'_>) -> bool {
    matches!(
        node,
        Node::SelectStmt(_)
            | Node::InsertStmt(_)
            | Node::UpdateStmt(_)
            | Node::DeleteStmt(_)
            | Node::MergeStmt(_)
    )
}

/// Tells whether SHOW of a setting tells where it runs. What is configured may differ as well, but that is the same with
/// any setting.
fn tells_of_the_node(name: &str) -> bool {
    const OF_THE_NODE: [&str; 14] = [
        "all",
        "cluster_name",
        "config_file",
        "data_directory",
        "external_pid_file",
        "hba_file",
        "ident_file",
        "in_hot_standby",
        "listen_addresses",
        "port",
        "primary_conninfo",
        "primary_slot_name",
        "synchronous_standby_names",
        "unix_socket_directories",
    ];
    OF_THE_NODE.contains(&&*name.to_ascii_lowercase())
}

/// ACCESS SHARE, which keeps a table from being dropped, on a standby as well (`storage/lockdefs.h`). The stronger ones
/// that a standby takes keep nobody from writing.
const ACCESS_SHARE: i32 = 1;

//! Reads the statements that are not queries, by the kind of their root.

use super::nodes::{DiscardMode, TransactionStmtKind};
use super::{Node, Strings, nodes, qualified_name, read_only, setting, tree};
use crate::sql::effects::{Discard, NeedsPrimary, Prepared, SessionState, Transaction};
use crate::sql::findings::Findings;

/// Reports what a statement that is no query does.
pub(super) fn statement(node: Node<'_>, findings: &mut Findings) {
    if let Node::CopyStmt(it) = node
        && is_copy_to_client(it)
    {
        return copied(it, findings);
    }
    let session = session_statement(node, findings);
    if findings.effects.own.is_some() {
        return;
    }
    let reason = if session { NeedsPrimary::SessionState } else { NeedsPrimary::Utility };
    if read_only::is_same_on_standby(node) {
        findings.needs_primary_alone(reason);
    } else {
        findings.needs_primary(reason);
    }
    if !session && !runs_query(node, findings) && !creates(node, findings) && !is_harmless(node) {
        // Either it changes the schema, or it is new to us and may do anything.
        findings.effects.ddl = true;
        if !is_plain_ddl(node) {
            findings.may_leave(SessionState::OPAQUE_CODE);
        }
    }
}

/// Reports a relation that is created.
pub(super) fn created(relation: Option<&nodes::RangeVar>, findings: &mut Findings) {
    let schema = relation.and_then(|relation| relation.schemaname());
    findings.created(schema, relation.is_some_and(is_temporary));
}

/// Takes the statements about the session itself.
fn session_statement(node: Node<'_>, findings: &mut Findings) -> bool {
    match node {
        Node::TransactionStmt(it) => transaction(it, findings),
        Node::VariableSetStmt(it) => setting::set(it, findings),
        Node::VariableShowStmt(it) => setting::show(it, findings),
        Node::ConstraintsSetStmt(_) => {}
        Node::FetchStmt(_) => findings.effects.of_session = true,
        Node::PrepareStmt(it) => {
            findings.effects.prepared = Some(Prepared::Prepare(folded(it.name())));
            findings.may_leave(SessionState::SQL_PREPARED);
            tree::walk(it.query(), &[], findings);
        }
        Node::ExecuteStmt(it) => execute(it, findings),
        Node::DeallocateStmt(it) => {
            let deallocated = match it.name() {
                Some(name) => Prepared::Deallocate(name.into()),
                None => Prepared::DeallocateAll,
            };
            findings.effects.prepared = Some(deallocated);
            findings.effects.may_clear = true;
        }
        Node::DiscardStmt(it) => discard(it, findings),
        Node::DeclareCursorStmt(it) => {
            if it.options & CURSOR_OPT_HOLD != 0 {
                findings.may_leave(SessionState::HOLD_CURSOR);
            }
            tree::walk(it.query(), &[], findings);
        }
        Node::ClosePortalStmt(_) | Node::UnlistenStmt(_) => findings.effects.may_clear = true,
        Node::ListenStmt(_) => findings.may_leave(SessionState::LISTEN),
        Node::LoadStmt(_) => findings.may_leave(SessionState::LIBRARY),
        _ => return false,
    }
    true
}

/// Takes the statements with a query, or code, inside that runs at once.
fn runs_query(node: Node<'_>, findings: &mut Findings) -> bool {
    match node {
        // Without ANALYZE nothing inside is run; to tell costs more than it gives.
        Node::ExplainStmt(it) => inner(it.query(), findings),
        Node::CreateTableAsStmt(it) => {
            created(it.into().and_then(|into| into.rel()), findings);
            inner(it.query(), findings);
        }
        Node::CopyStmt(it) => {
            match it.relation() {
                Some(table) if it.is_from => {
                    findings.write_target(table.schemaname(), table.relname().unwrap_or(""));
                }
                _ => copied(it, findings),
            }
            tree::walk(it.where_clause(), &[], findings);
        }
        Node::CallStmt(it) => {
            findings.may_leave(SessionState::OPAQUE_CODE);
            if let Some(call) = it.funccall() {
                tree::walk(Node::FuncCall(call), &[], findings);
            }
        }
        Node::DoStmt(_) => {
            // Migrations are written as DO blocks; procedures called again and again seldom change the schema.
            findings.effects.ddl = true;
            findings.may_leave(SessionState::OPAQUE_CODE);
        }
        Node::LockStmt(it) => {
            findings.needs_primary_alone(NeedsPrimary::Locks);
            for table in it.relations() {
                if let Node::RangeVar(table) = table {
                    findings.relation(table.schemaname(), table.relname().unwrap_or(""));
                }
            }
        }
        _ => return false,
    }
    true
}

/// Tells whether the client gets what is copied: to files and programs it goes on the server itself.
fn is_copy_to_client(it: &nodes::CopyStmt) -> bool {
    !it.is_from && !it.is_program && it.filename().is_none()
}

/// Reports what COPY TO reads: a read like any other. Its options are constants.
fn copied(it: &nodes::CopyStmt, findings: &mut Findings) {
    match it.relation() {
        Some(table) => findings.relation(table.schemaname(), table.relname().unwrap_or("")),
        None => tree::walk(it.query(), &[], findings),
    }
}

/// Takes the statements that create something which may be temporary.
fn creates(node: Node<'_>, findings: &mut Findings) -> bool {
    match node {
        Node::CreateStmt(it) => created(it.relation(), findings),
        Node::ViewStmt(it) => created(it.view(), findings),
        Node::CreateSeqStmt(it) => created(it.sequence(), findings),
        Node::CompositeTypeStmt(it) => created(it.typevar(), findings),
        Node::CreateFunctionStmt(it) => findings.created(qualified_name(it.funcname()).0, false),
        Node::CreateEnumStmt(it) => findings.created(schema_of(it.type_name()), false),
        Node::CreateRangeStmt(it) => findings.created(schema_of(it.type_name()), false),
        Node::CreateDomainStmt(it) => findings.created(schema_of(it.domainname()), false),
        Node::DefineStmt(it) => findings.created(schema_of(it.defnames()), false),
        Node::DropdbStmt(it) => findings.effects.drops_database = it.dbname().map(Into::into),
        Node::DropStmt(_) | Node::DropOwnedStmt(_) | Node::AlterObjectSchemaStmt(_) => {
            findings.effects.ddl = true;
            findings.effects.may_clear = true;
        }
        _ => return false,
    }
    true
}

/// Tells whether a statement neither changes what a query returns or how it is planned, nor leaves anything in the
/// session.
fn is_harmless(node: Node<'_>) -> bool {
    matches!(
        node,
        Node::NotifyStmt(_)
            | Node::TruncateStmt(_)
            | Node::VacuumStmt(_)
            | Node::ClusterStmt(_)
            | Node::ReindexStmt(_)
            | Node::RefreshMatViewStmt(_)
            | Node::CheckPointStmt(_)
            | Node::CommentStmt(_)
            | Node::SecLabelStmt(_)
            | Node::GrantStmt(_)
            | Node::GrantRoleStmt(_)
            | Node::AlterDefaultPrivilegesStmt(_)
            | Node::ReassignOwnedStmt(_)
            | Node::AlterSystemStmt(_)
            | Node::AlterRoleStmt(_)
            | Node::DropRoleStmt(_)
            | Node::CreatedbStmt(_)
            | Node::AlterDatabaseStmt(_)
            | Node::AlterDatabaseRefreshCollStmt(_)
            | Node::CreateTableSpaceStmt(_)
            | Node::AlterTableSpaceOptionsStmt(_)
            | Node::DropTableSpaceStmt(_)
            | Node::CreatePublicationStmt(_)
            | Node::AlterPublicationStmt(_)
            | Node::CreateSubscriptionStmt(_)
            | Node::AlterSubscriptionStmt(_)
            | Node::DropSubscriptionStmt(_)
    )
}

/// Tells whether a statement changes the schema and runs no code of users while it does.
fn is_plain_ddl(node: Node<'_>) -> bool {
    matches!(
        node,
        Node::AlterCollationStmt(_)
            // These may set a search_path.
            | Node::AlterDatabaseSetStmt(_)
            | Node::AlterRoleSetStmt(_)
            | Node::AlterDomainStmt(_)
            | Node::AlterEnumStmt(_)
            | Node::AlterEventTrigStmt(_)
            | Node::AlterFdwStmt(_)
            | Node::AlterForeignServerStmt(_)
            | Node::AlterFunctionStmt(_)
            | Node::AlterObjectDependsStmt(_)
            | Node::AlterOpFamilyStmt(_)
            | Node::AlterOperatorStmt(_)
            | Node::AlterOwnerStmt(_)
            | Node::AlterPolicyStmt(_)
            | Node::AlterSeqStmt(_)
            | Node::AlterStatsStmt(_)
            | Node::AlterTSConfigurationStmt(_)
            | Node::AlterTSDictionaryStmt(_)
            | Node::AlterTableMoveAllStmt(_)
            | Node::AlterTypeStmt(_)
            | Node::AlterUserMappingStmt(_)
            | Node::CreateAmStmt(_)
            | Node::CreateCastStmt(_)
            | Node::CreateConversionStmt(_)
            | Node::CreateEventTrigStmt(_)
            | Node::CreateFdwStmt(_)
            | Node::CreateForeignServerStmt(_)
            | Node::CreateOpClassStmt(_)
            | Node::CreateOpFamilyStmt(_)
            | Node::CreatePLangStmt(_)
            | Node::CreatePolicyStmt(_)
            // "$user" in a search_path may now mean a schema that was there before.
            | Node::CreateRoleStmt(_)
            | Node::CreateSchemaStmt(_)
            | Node::CreateStatsStmt(_)
            | Node::CreateTransformStmt(_)
            | Node::CreateTrigStmt(_)
            | Node::CreateUserMappingStmt(_)
            | Node::DropUserMappingStmt(_)
            | Node::ImportForeignSchemaStmt(_)
            | Node::IndexStmt(_)
            | Node::RenameStmt(_)
            | Node::RuleStmt(_)
    )
}

/// Reports a statement inside another: EXECUTE, or a query, or what EXPLAIN takes besides.
fn inner(node: Node<'_>, findings: &mut Findings) {
    match node {
        Node::ExecuteStmt(it) => execute(it, findings),
        Node::DeclareCursorStmt(it) => tree::walk(it.query(), &[], findings),
        Node::CreateTableAsStmt(it) => {
            created(it.into().and_then(|into| into.rel()), findings);
            match it.query() {
                Node::ExecuteStmt(it) => execute(it, findings),
                query => tree::walk(query, &[], findings),
            }
        }
        Node::RefreshMatViewStmt(_) => {}
        query => tree::walk(query, &[], findings),
    }
}

fn execute(it: &nodes::ExecuteStmt, findings: &mut Findings) {
    findings.effects.prepared = Some(Prepared::Execute(folded(it.name())));
    findings.effects.of_session = true;
    // What was prepared is another text's matter: any function may be in it.
    findings.may_leave(SessionState::OPAQUE_CODE);
    for argument in it.params() {
        tree::walk(argument, &[], findings);
    }
}

fn transaction(it: &nodes::TransactionStmt, findings: &mut Findings) {
    let savepoint = || folded(it.savepoint_name());
    let (transaction, may_clear) = match it.kind {
        TransactionStmtKind::TRANS_STMT_BEGIN | TransactionStmtKind::TRANS_STMT_START => {
            let start = it.kind == TransactionStmtKind::TRANS_STMT_START;
            (Transaction::Begin { modes: read_only::modes(it.options()), start }, false)
        }
        // Temporary tables of ON COMMIT DROP.
        TransactionStmtKind::TRANS_STMT_COMMIT => (Transaction::Commit { chain: it.chain }, true),
        TransactionStmtKind::TRANS_STMT_ROLLBACK => (Transaction::Rollback { chain: it.chain }, true),
        TransactionStmtKind::TRANS_STMT_SAVEPOINT => (Transaction::Savepoint(savepoint()), false),
        TransactionStmtKind::TRANS_STMT_RELEASE => (Transaction::Release(savepoint()), false),
        TransactionStmtKind::TRANS_STMT_ROLLBACK_TO => (Transaction::RollbackTo(savepoint()), true),
        TransactionStmtKind::TRANS_STMT_PREPARE => (Transaction::PrepareTransaction, true),
        _ => (Transaction::FinishPrepared, false),
    };
    findings.effects.transaction = Some(transaction);
    findings.effects.may_clear = may_clear;
}

fn discard(it: &nodes::DiscardStmt, findings: &mut Findings) {
    findings.effects.discard = Some(match it.target {
        DiscardMode::DISCARD_PLANS => Discard::Plans,
        DiscardMode::DISCARD_SEQUENCES => Discard::Sequences,
        DiscardMode::DISCARD_TEMP => Discard::Temp,
        _ => Discard::All,
    });
    findings.effects.may_clear = it.target != DiscardMode::DISCARD_PLANS;
}

/// Returns what stands in front of the last name.
fn schema_of(names: &Strings) -> Option<&str> {
    let mut names = names.iter().rev().skip(1);
    names.next().and_then(|name| name.sval())
}

fn is_temporary(relation: &nodes::RangeVar) -> bool {
    u8::try_from(relation.relpersistence).is_ok_and(|persistence| persistence == b't')
}

fn folded(name: Option<&str>) -> Box<str> {
    name.unwrap_or("").into()
}

/// WITH HOLD among the options of DECLARE (`nodes/parsenodes.h`).
pub(super) const CURSOR_OPT_HOLD: i32 = 0x20;

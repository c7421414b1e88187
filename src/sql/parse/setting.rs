//! Reads changes of settings: SET and RESET in all their forms, and `set_config()` where it can be followed.

use super::nodes::{SetOperation, VariableSetKind};
use super::{Node, constant, literal, nodes, qualified_name, read_only, truth, uncast};
use crate::sql::effects::{NeedsPrimary, SessionState, SettingChange};
use crate::sql::findings::Findings;
use crate::sql::own::{OWN_PREFIX, OwnAct};
use crate::sql::quote::push_identifier;

/// Reports what a SET or RESET changes.
pub(super) fn set(it: &nodes::VariableSetStmt, findings: &mut Findings) {
    let name = it.name().map(canonical_name).unwrap_or_default();
    let local = it.is_local;
    if name.starts_with(OWN_PREFIX) {
        return findings.own(set_own(name, it));
    }
    match it.kind {
        VariableSetKind::VAR_SET_VALUE => match flatten(&name, it) {
            Some(value) => change(SettingChange::Set { name, value: value.into(), local }, findings),
            None => findings.may_leave(SessionState::UNTRACKED_SETTING),
        },
        VariableSetKind::VAR_SET_DEFAULT => change(SettingChange::Reset { name, local }, findings),
        VariableSetKind::VAR_RESET => change(SettingChange::Reset { name, local: false }, findings),
        VariableSetKind::VAR_RESET_ALL => {
            findings.effects.settings.push(SettingChange::ResetAll);
            findings.effects.may_clear = true;
        }
        // SET TRANSACTION ends with the transaction.
        VariableSetKind::VAR_SET_MULTI if &*name == "transaction" => {
            findings.effects.modes = Some(read_only::modes(it.args()));
        }
        VariableSetKind::VAR_SET_MULTI if name.starts_with("transaction") => {}
        VariableSetKind::VAR_SET_MULTI => characteristics(it, findings),
        _ => findings.may_leave(SessionState::UNTRACKED_SETTING),
    }
}

/// Reads a SET or RESET of one of the proxy's own settings.
fn set_own(name: Box<str>, it: &nodes::VariableSetStmt) -> OwnAct {
    let (local, reset) = (it.is_local, it.kind == VariableSetKind::VAR_RESET);
    match it.kind {
        VariableSetKind::VAR_SET_VALUE => match flatten(&name, it) {
            Some(value) => OwnAct::Set { name, value: Some(value.into()), local, reset },
            None => OwnAct::Unclear(name),
        },
        VariableSetKind::VAR_SET_DEFAULT | VariableSetKind::VAR_RESET => {
            OwnAct::Set { name, value: None, local, reset }
        }
        _ => OwnAct::Unclear(name),
    }
}

/// Reports SHOW, if it is of one of the proxy's own settings.
pub(super) fn show(it: &nodes::VariableShowStmt, findings: &mut Findings) {
    let name = it.name().map(canonical_name).unwrap_or_default();
    if name.starts_with(OWN_PREFIX) {
        findings.own(OwnAct::Show(name));
    }
}

/// Reads a call of `set_config()` as a change of one of the proxy's own settings, if it is one.
fn config_own(change: &SettingChange, alone: bool, target: &nodes::ResTarget) -> Option<OwnAct> {
    let (name, value, local) = match change {
        SettingChange::Set { name, value, local } => (name, Some(value), local),
        SettingChange::Reset { name, local } => (name, None, local),
        SettingChange::SetFromBind { name: Ok(name), .. } if name.starts_with(OWN_PREFIX) => {
            return Some(OwnAct::Unclear(name.clone()));
        }
        SettingChange::SetFromBind { .. } | SettingChange::ResetAll => return None,
    };
    if !name.starts_with(OWN_PREFIX) {
        return None;
    }
    let (name, value, local) = (name.clone(), value.cloned(), *local);
    let column = target.name().unwrap_or("set_config").into();
    Some(if alone { OwnAct::SetConfig { name, value, local, column } } else { OwnAct::Unclear(name) })
}

/// Reports the calls of `set_config()` that can be followed: those right in the list of a SELECT which returns
/// exactly one row, with constants or bind parameters. Returns them, so that the walk passes over them.
pub(super) fn set_config_calls<'a>(
    select: &'a nodes::SelectStmt,
    findings: &mut Findings,
) -> Vec<&'a nodes::FuncCall> {
    if !returns_one_row(select) {
        return Vec::new();
    }
    let mut tracked = Vec::new();
    for target in select.target_list() {
        let Node::FuncCall(call) = target.val() else { continue };
        if let Some(found) = set_config(call) {
            if let Some(own) = config_own(&found, select.target_list().len() == 1, target) {
                findings.own(own);
                tracked.push(call);
                continue;
            }
            // What can be carried to other servers is the same on all, but for the settings of this transaction.
            let alone = !found.name().is_none_or(|name| name.starts_with("transaction_"));
            if alone {
                findings.needs_primary_alone(NeedsPrimary::Function);
            } else {
                findings.needs_primary(NeedsPrimary::Function);
            }
            change(found, findings);
            tracked.push(call);
        }
    }
    tracked
}

fn returns_one_row(it: &nodes::SelectStmt) -> bool {
    it.op == SetOperation::SETOP_NONE
        && it.values_lists().is_empty()
        && it.from_clause().is_empty()
        && it.with_clause().is_none()
        && it.group_clause().is_empty()
        && it.distinct_clause().is_empty()
        && it.sort_clause().is_empty()
        && it.into_clause().is_none()
        && [it.where_clause(), it.having_clause(), it.limit_count(), it.limit_offset()]
            .iter()
            .all(|part| matches!(part, Node::None))
}

fn set_config(call: &nodes::FuncCall) -> Option<SettingChange> {
    let (None | Some("pg_catalog"), "set_config") = qualified_name(call.funcname()) else { return None };
    let plain = call.over().is_none()
        && call.agg_order().is_empty()
        && matches!(call.agg_filter(), Node::None)
        && !(call.agg_distinct || call.func_variadic || call.agg_within_group || call.agg_star);
    let args = call.args();
    if !plain || args.len() != 3 {
        return None;
    }
    let local = truth(args.get(2)?)?;
    let name = parameter_or(args.get(0)?, |node| Some(canonical_name(literal(node)??)))?;
    let value = args.get(1)?;
    if let (Ok(name), Some(None)) = (&name, literal(value)) {
        return Some(SettingChange::Reset { name: name.clone(), local });
    }
    let value = parameter_or(value, |node| Some(literal(node)??.into()))?;
    Some(match (name, value) {
        (Ok(name), Ok(value)) => SettingChange::Set { name, value, local },
        (name, value) => SettingChange::SetFromBind { name, value, local },
    })
}

/// Returns the index of a bind parameter as the error side, or else what `text` makes of the node.
fn parameter_or<'a>(
    node: Node<'a>,
    text: impl FnOnce(Node<'a>) -> Option<Box<str>>,
) -> Option<Result<Box<str>, u16>> {
    match uncast(node) {
        Node::ParamRef(parameter) => {
            let index = u16::try_from(parameter.number).ok()?.checked_sub(1)?;
            Some(Err(index))
        }
        _ => text(node).map(Ok),
    }
}

/// Notes one change, unless it is one of those which are not what they seem.
fn change(change: SettingChange, findings: &mut Findings) {
    let (name, value) = match &change {
        SettingChange::Set { name, value, .. } => (&**name, Some(&**value)),
        SettingChange::Reset { name, .. } => (&**name, None),
        SettingChange::ResetAll | SettingChange::SetFromBind { .. } => ("", None),
    };
    match name {
        // End with the transaction, however they are set.
        "transaction_isolation" | "transaction_read_only" | "transaction_deferrable" => return,
        // Written only: the state of the random generator cannot be read back.
        "seed" => return findings.may_leave(SessionState::RANDOM_SEED),
        // Every CREATE that follows makes temporary objects, and nothing in its text shows it.
        "search_path" if value.is_some_and(starts_in_temporary_schema) => {
            findings.may_leave(SessionState::UNTRACKED_SETTING);
        }
        _ => {}
    }
    findings.effects.settings.push(change);
}

fn starts_in_temporary_schema(path: &str) -> bool {
    let first = path.trim_start().trim_start_matches('"');
    first.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("pg_temp"))
}

/// SET SESSION CHARACTERISTICS AS TRANSACTION: a default for each mode it names.
fn characteristics(it: &nodes::VariableSetStmt, findings: &mut Findings) {
    for mode in it.args() {
        let Node::DefElem(mode) = mode else { continue };
        let Some(name) = mode.defname() else { continue };
        let value = match truth(mode.arg()) {
            Some(on) => Some(if on { "on" } else { "off" }.to_owned()),
            None => constant(mode.arg()),
        };
        let Some(value) = value else { continue };
        let name = format!("default_{name}").into();
        change(SettingChange::Set { name, value: value.into(), local: false }, findings);
    }
}

/// Returns the value of SET as one text, as `flatten_set_variable_args()` in PostgreSQL's `guc_funcs.c` makes it;
/// `None` where only the server can.
fn flatten(name: &str, it: &nodes::VariableSetStmt) -> Option<String> {
    let mut flat = String::new();
    for (index, arg) in it.args().iter().enumerate() {
        if index > 0 {
            flat.push_str(", ");
        }
        match arg {
            Node::TypeCast(cast) => flat.push_str(&interval(cast)?),
            _ if QUOTED_LISTS.contains(&name) => push_identifier(&mut flat, &constant(arg)?),
            _ => flat.push_str(&constant(arg)?),
        }
    }
    Some(flat)
}

/// SET TIME ZONE INTERVAL '...', the only place for a cast. The server brings the interval to its normal form;
/// what it reads is the same without. Only a unit after the literal changes its meaning.
fn interval(cast: &nodes::TypeCast) -> Option<String> {
    let text = constant(cast.arg())?;
    let units = cast.type_name().map(|name| name.typmods());
    match units.and_then(|units| units.first()) {
        None => {}
        // With a colon it reads as hours and minutes anyway.
        Some(unit) if constant(unit)? == HOUR_TO_MINUTE && text.contains(':') => {}
        Some(_) => return None,
    }
    Some(format!("INTERVAL '{}'", text.replace('\'', "''")))
}

/// Folds a name as PostgreSQL compares it, and replaces the names it still knows from former times.
fn canonical_name(name: &str) -> Box<str> {
    let folded = name.to_ascii_lowercase();
    match folded.as_str() {
        "sort_mem" => "work_mem".into(),
        "vacuum_mem" => "maintenance_work_mem".into(),
        _ => folded.into(),
    }
}

/// The settings marked GUC_LIST_QUOTE in PostgreSQL; no extension may add one.
const QUOTED_LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// `INTERVAL_MASK(HOUR) | INTERVAL_MASK(MINUTE)` (`utils/timestamp.h`), as the grammar writes it.
const HOUR_TO_MINUTE: &str = "3072";

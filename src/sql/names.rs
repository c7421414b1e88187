//! What the name of a function, relation or column says about the statement that uses it.

use super::builtins;
use super::effects::{NeedsPrimary, SessionState};

/// What follows from the use of one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Why the statement needs the primary, if this name is a reason.
    pub reason: Option<NeedsPrimary>,
    /// Whether that reason holds whatever the catalog and the configuration say.
    pub firm: bool,
    /// State the use may leave in the server's session.
    pub may_leave: SessionState,
    /// Whether the use may remove such state.
    pub may_clear: bool,
}

/// Judges a call of a function. An unqualified name of a built-in function is taken for it: whether a user's
/// function stands in its way is a question to the catalog.
pub(super) fn function(schema: Option<&str>, name: &str) -> Verdict {
    let builtin = schema.is_none_or(|schema| schema == "pg_catalog");
    // The helpers of the information schema's views; drivers ask for keys with them.
    let of_information_schema = schema == Some("information_schema") && name.starts_with("_pg_");
    if of_information_schema || (builtin && builtins::is_plain(name)) {
        return Verdict::default();
    }
    let may_leave = if builtin && builtins::is_other(name) {
        left_by_builtin(name)
    } else if name.starts_with("dblink_connect") {
        SessionState::DBLINK.union(SessionState::OPAQUE_CODE)
    } else {
        SessionState::OPAQUE_CODE
    };
    let may_clear = builtin && may_clear(name);
    // What is bound to a session belongs on the server that has the session's other state.
    let firm = may_clear || !may_leave.without(SessionState::OPAQUE_CODE).is_empty();
    Verdict { reason: Some(NeedsPrimary::Function), firm, may_leave, may_clear }
}

/// Judges the last part of a column reference. `a.name` calls `name(a)` when `a` has no such column, and `a` may
/// be the one value of a function in FROM: `select x.pg_try_advisory_lock from generate_series(1, 1) x`.
pub(super) fn column(qualified: bool, name: &str) -> Verdict {
    // The three columns of every sequence: its page is written ahead of use, so a standby shows other values.
    const OF_SEQUENCES: [&str; 3] = ["is_called", "last_value", "log_cnt"];
    if OF_SEQUENCES.contains(&name) {
        return node_specific(false);
    }
    // A standby does not learn which command of its transaction wrote a row.
    if matches!(name, "cmin" | "cmax") {
        return node_specific(true);
    }
    if qualified && is_other_field(name) {
        return function(None, name);
    }
    Verdict::default()
}

/// Tells whether `a.name` may call a built-in function that is not plain.
pub(super) fn is_other_field(name: &str) -> bool {
    // These take no argument, so the notation cannot call them, and they are good names for columns.
    const COLUMNS_AFTER_ALL: [&str; 4] = ["current_query", "random", "timeofday", "version"];
    builtins::is_other(name) && !COLUMNS_AFTER_ALL.contains(&name)
}

/// Judges a relation that is read. Everything named `pg_...` is denied but the catalog's ordinary tables and the
/// views over them: the rest tells of one node or one session (also extensions' views: `pg_stat_statements`).
pub(super) fn relation(schema: Option<&str>, name: &str) -> Verdict {
    let temporary = schema.is_some_and(is_temporary_schema);
    if temporary || (name.starts_with("pg_") && !CATALOG.contains(&name)) {
        return node_specific(temporary);
    }
    Verdict::default()
}

/// Tells whether a relation is known to be the same on every node without asking the catalog.
pub(super) fn is_harmless_relation(schema: Option<&str>, name: &str) -> bool {
    match schema {
        Some("pg_catalog") => CATALOG.contains(&name),
        Some("information_schema") => !name.starts_with("pg_"),
        _ => false,
    }
}

/// Tells whether an unqualified name is that of an ordinary table of the catalog, or of a view over such.
pub(super) fn is_catalog_relation(name: &str) -> bool {
    CATALOG.contains(&name)
}

/// Tells whether a schema holds temporary objects: `pg_temp`, or a backend's own `pg_temp_5`.
pub(super) fn is_temporary_schema(schema: &str) -> bool {
    schema == "pg_temp" || schema.starts_with("pg_temp_") || schema.starts_with("pg_toast_temp_")
}

/// Returns what a call of a built-in function may leave behind in the session.
fn left_by_builtin(name: &str) -> SessionState {
    match name {
        "pg_advisory_lock"
        | "pg_advisory_lock_shared"
        | "pg_try_advisory_lock"
        | "pg_try_advisory_lock_shared" => SessionState::ADVISORY_LOCK,
        "currval" | "lastval" => SessionState::SEQUENCE,
        "setseed" => SessionState::RANDOM_SEED,
        // Where the arguments can be followed, the parser reports a change of a setting and not this call.
        "set_config" => SessionState::UNTRACKED_SETTING,
        // A temporary slot, a backup and a replication origin end with the session; no question to the server
        // tells them apart from those of others, so they bind like a setting that cannot be followed.
        "pg_create_logical_replication_slot"
        | "pg_create_physical_replication_slot"
        | "pg_copy_logical_replication_slot"
        | "pg_copy_physical_replication_slot"
        | "pg_backup_start"
        | "pg_replication_origin_session_setup" => SessionState::UNTRACKED_SETTING,
        // These run SQL they are given.
        "ts_stat" | "ts_rewrite" => SessionState::OPAQUE_CODE,
        _ if name.contains("_to_xml") => SessionState::OPAQUE_CODE,
        _ => SessionState::NONE,
    }
}

/// Tells whether a built-in function may remove state from the session.
fn may_clear(name: &str) -> bool {
    name.starts_with("pg_advisory_unlock")
        || matches!(
            name,
            "pg_backup_stop" | "pg_drop_replication_slot" | "pg_replication_origin_session_reset"
        )
}

fn node_specific(firm: bool) -> Verdict {
    Verdict { reason: Some(NeedsPrimary::NodeSpecific), firm, ..Verdict::default() }
}

/// Ordinary tables of the catalog, and views that show nothing else: the same on a standby as on its primary.
#[rustfmt::skip]
const CATALOG: [&str; 80] = [
    "pg_aggregate", "pg_am", "pg_amop", "pg_amproc", "pg_attrdef", "pg_attribute", "pg_auth_members",
    "pg_authid", "pg_cast", "pg_class", "pg_collation", "pg_constraint", "pg_conversion", "pg_database",
    "pg_db_role_setting", "pg_default_acl", "pg_depend", "pg_description", "pg_enum", "pg_event_trigger",
    "pg_extension", "pg_foreign_data_wrapper", "pg_foreign_server", "pg_foreign_table", "pg_group",
    "pg_index", "pg_indexes", "pg_inherits", "pg_init_privs", "pg_language", "pg_largeobject",
    "pg_largeobject_metadata", "pg_matviews", "pg_namespace", "pg_opclass", "pg_operator", "pg_opfamily",
    "pg_parameter_acl", "pg_partitioned_table", "pg_policies", "pg_policy", "pg_proc", "pg_publication",
    "pg_publication_namespace", "pg_publication_rel", "pg_publication_tables", "pg_range",
    "pg_replication_origin", "pg_rewrite", "pg_roles", "pg_rules", "pg_seclabel", "pg_seclabels",
    "pg_sequence", "pg_shadow", "pg_shdepend", "pg_shdescription", "pg_shseclabel", "pg_statistic",
    "pg_statistic_ext", "pg_statistic_ext_data", "pg_stats", "pg_stats_ext", "pg_stats_ext_exprs",
    "pg_subscription", "pg_subscription_rel", "pg_tables", "pg_tablespace", "pg_transform", "pg_trigger",
    "pg_ts_config", "pg_ts_config_map", "pg_ts_dict", "pg_ts_parser", "pg_ts_template", "pg_type", "pg_user",
    "pg_user_mapping", "pg_user_mappings", "pg_views",
];

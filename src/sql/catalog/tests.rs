//! What a catalog makes of statements: a small one, in which every kind of object has its name.

use super::facts::{Facts, Function, Kind, Of, Part, Relation, What};
use super::*;
use crate::sql::tests::AROUND;
use crate::sql::{Classified, Classifier};

fn judged(catalog: &Catalog, path: Option<&str>, text: &str) -> String {
    let class = Classifier::default().classify(text.as_bytes(), true);
    let path = SearchPaths::default().get(path);
    class.judge(Some(catalog), &path).map_or_else(|reason| format!("{reason:?}"), |()| "plain".into())
}

fn facts() -> Facts {
    let mut facts = Facts { default_paths: Some(vec!["\"$user\", public".into()]), ..Facts::default() };
    let functions = [
        (1, "public", "stable_f", (1, 2), false),
        (2, "public", "volatile_f", (1, 1), true),
        (3, "public", "overloaded", (1, 1), false),
        (4, "public", "overloaded", (2, u16::MAX), true),
        (5, "app", "abs", (1, 1), true),
        (6, "ann", "own_f", (0, 0), true),
        (7, "public", "by_default", (0, 1), false),
        (8, "public", "full_name", (1, 1), false),
        (9, "public", "by_default_2", (0, 1), false),
        (10, "public", "takes_checked", (1, 1), false),
    ];
    for (oid, schema, name, (least_arguments, most_arguments), volatile) in functions {
        let (schema, name) = (schema.into(), name.into());
        facts.functions.push(Function { oid, schema, name, least_arguments, most_arguments, volatile });
    }
    let relations = [
        (100, "public", "t", Kind::Ordinary),
        (101, "public", "u", Kind::Ordinary),
        (102, "public", "v", Kind::Ordinary),
        (103, "public", "unlogged_t", Kind::Unlogged),
        (104, "public", "s", Kind::Sequence),
        (105, "public", "foreign_t", Kind::Foreign),
        (110, "public", "fine_view", Kind::Ordinary),
        (111, "public", "view_of_view", Kind::Ordinary),
        (112, "public", "volatile_view", Kind::Ordinary),
        (113, "public", "nextval_view", Kind::Ordinary),
        (114, "public", "activity_view", Kind::Ordinary),
        (115, "public", "parent", Kind::Ordinary),
        (116, "public", "middle", Kind::Ordinary),
        (117, "public", "rls_t", Kind::Ordinary),
        (118, "app", "t", Kind::Unlogged),
        (119, "app", "only_app", Kind::Ordinary),
        (120, "public", "cast_view", Kind::Ordinary),
        (121, "public", "typed_t", Kind::Ordinary),
    ];
    for (oid, schema, name, kind) in relations {
        facts.relations.push(Relation { oid, schema: schema.into(), name: name.into(), kind });
    }
    let system = |name: &str, volatile| What::SystemFunction { name: name.into(), volatile };
    let activity = What::SystemRelation { schema: "pg_catalog".into(), name: "pg_stat_activity".into() };
    for (owner, of, what) in [
        (110, Of::View, What::Relation(100)),
        (110, Of::View, What::Function(1)),
        (110, Of::View, system("lower", false)),
        (111, Of::View, What::Relation(112)),
        (112, Of::View, What::Function(2)),
        (113, Of::View, system("nextval", true)),
        (114, Of::View, activity),
        (115, Of::Child, What::Relation(116)),
        (116, Of::Child, What::Relation(105)),
        (117, Of::Policy, What::Function(2)),
        (120, Of::View, What::Needs(NeedsPrimary::Type)),
        (7, Of::Default, system("nextval", true)),
        (9, Of::Default, What::Function(7)),
        (10, Of::Argument, What::Needs(NeedsPrimary::Type)),
        (121, Of::Column, What::Needs(NeedsPrimary::Type)),
    ] {
        facts.parts.push(Part { owner, of, what });
    }
    facts.operators.push(("public".into(), "===".into()));
    facts.operators.push(("ops".into(), "=".into()));
    facts.operators.push(("ops".into(), "<=".into()));
    facts.types.push(("public".into(), "checked".into()));
    facts.role_schemas.push("ann".into());
    facts
}

fn catalog() -> Catalog {
    Catalog::new(7, facts(), Lists::default())
}

fn check(cases: &[(&str, &str)]) {
    let catalog = catalog();
    for (text, expected) in cases {
        assert_eq!(judged(&catalog, None, text), *expected, "{text}");
    }
}

#[test]
fn functions_are_known_by_volatility_and_number_of_arguments() {
    check(&[
        ("select stable_f(1), stable_f(1, 2), public.stable_f(1)", "plain"),
        ("select stable_f(1, 2, 3)", "Function"),
        ("select volatile_f(1)", "Function"),
        ("select overloaded(1)", "plain"),
        ("select overloaded(1, 2)", "Function"),
        ("select overloaded(variadic array[1])", "plain"),
        ("select overloaded(1, 2, 3, 4)", "Function"),
        ("select overloaded(1) within group (order by 2)", "Function"),
        ("select by_default(1)", "Function"),
        ("select by_default_2()", "Function"),
        ("select takes_checked('x')", "Function"),
        ("select unheard_of(1)", "Function"),
        ("select app.stable_f(1)", "Function"),
        ("select lower('A'), now(), pg_catalog.abs(1)", "plain"),
        ("select nextval('s')", "Function"),
        ("select pg_catalog.random()", "Function"),
        ("select t.full_name, (t).full_name from t", "plain"),
        ("select t.volatile_f from t", "Function"),
        ("select (t).volatile_f from t", "Function"),
        ("select x.pg_notify from t x", "Function"),
        ("select last_value from t", "plain"),
        ("select own_f()", "Function"),
    ]);
}

#[test]
fn relations_are_known_by_what_they_are_and_what_is_below_them() {
    check(&[
        ("select * from t, public.u, v", "plain"),
        ("select * from unlogged_t", "Unlogged"),
        ("select last_value from s", "Sequence"),
        ("table foreign_t", "ForeignTable"),
        ("select 1 from fine_view", "plain"),
        ("select 1 from volatile_view", "ViewFunction"),
        ("select 1 from view_of_view", "ViewFunction"),
        ("select 1 from nextval_view", "ViewFunction"),
        ("select 1 from activity_view", "NodeSpecific"),
        ("select 1 from cast_view", "Type"),
        ("select 1 from parent", "ForeignTable"),
        ("select 1 from rls_t", "Policy"),
        ("select 1 from typed_t where a = 'x'", "Type"),
        ("select 1 from unheard_of", "UnknownRelation"),
        ("select 1 from app.only_app", "plain"),
        ("select 1 from only_app", "UnknownRelation"),
        ("select 1 from app.t", "Unlogged"),
        ("select 1 from pg_class, pg_catalog.pg_proc, information_schema.tables", "plain"),
        ("select 1 from pg_locks", "NodeSpecific"),
        ("select 1 from pg_temp.t", "NodeSpecific"),
        ("with x as (select 1 from t) select * from x", "plain"),
        ("with s as (select 1) select * from s", "Sequence"),
        ("select 1; select 1 from unlogged_t", "Unlogged"),
        ("select 1", "plain"),
    ]);
}

#[test]
fn operators_and_types_are_known_by_name() {
    check(&[
        ("select 1 = 2 and 3 between 1 and 5", "plain"),
        ("select 1 === 2", "Operator"),
        ("select 1 operator(public.===) 2", "Operator"),
        ("select 1 operator(app.===) 2", "plain"),
        ("select 1 === any (select 1)", "Operator"),
        ("select a from t order by a using ===", "Operator"),
        ("select a::checked from t", "Type"),
        ("select cast(a as public.checked[]) from t", "Type"),
        ("select * from json_to_record('{}') as x(a checked)", "Type"),
        ("select json_value('1', '$' returning checked)", "Type"),
        ("select a::int, b::text, c::date from t", "plain"),
    ]);
}

#[test]
fn operators_that_are_not_written_are_known_as_well() {
    let catalog = catalog();
    for text in [
        "select 1 in (1, 2)",
        "select 1 not in (select 1)",
        "select (1, 2) in (select 1, 2)",
        "select 1 from t join u using (a)",
        "select 1 from t natural left join u",
        "select case 1 when 2 then 3 end",
        "select nullif(1, 2)",
        "select 1 is not distinct from 2",
        "select (1, 2) = (3, 4)",
        "select 1 = any (array[1])",
        "select 1 between 2 and 3",
        "select 1 not between symmetric 2 and 3",
    ] {
        assert_eq!(judged(&catalog, Some("public, ops"), text), "Operator", "{text}");
        assert_eq!(judged(&catalog, None, text), "plain", "{text}");
    }
    for text in
        ["select 1 from t join u on true", "select case when true then 1 end", "select exists (select 1)"]
    {
        assert_eq!(judged(&catalog, Some("public, ops"), text), "plain", "{text}");
    }
}

#[test]
fn the_search_path_says_which_names_count() {
    let catalog = catalog();
    for (path, text, expected) in [
        ("app", "select abs(1)", "ShadowedBuiltin"),
        ("public", "select abs(1)", "plain"),
        ("app, public", "select * from t", "Unlogged"),
        ("public", "select * from t", "plain"),
        ("\"$user\"", "select * from t", "UnknownRelation"),
        ("app", "select * from only_app", "plain"),
        ("\"$user\"", "select own_f()", "Function"),
        ("", "select stable_f(1)", "Function"),
        ("not, a list,", "select * from only_app", "UnknownRelation"),
    ] {
        assert_eq!(judged(&catalog, Some(path), text), expected, "{path}: {text}");
    }
    // Where nothing is known of the servers' own path, every schema counts.
    let any = Catalog::new(8, Facts { default_paths: None, ..facts() }, Lists::default());
    assert_eq!(judged(&any, None, "select * from t"), "Unlogged");
    assert_eq!(judged(&any, None, "select abs(1)"), "ShadowedBuiltin");
}

#[test]
fn the_configuration_overrules_the_catalog() {
    let lists = Lists::parse(
        ["stable_f", "pg_catalog.lower"],
        ["volatile_f", "random", "unheard_of"],
        ["public.u"],
        ["unlogged_t", "pg_stat_activity", "foreign_t"],
    );
    let catalog = Catalog::new(9, facts(), lists.unwrap());
    for (text, expected) in [
        ("select stable_f(1)", "Listed"),
        ("select lower('A')", "Listed"),
        ("select volatile_f(1), random(), unheard_of()", "plain"),
        ("select setseed(1)", "Function"),
        ("select * from fine_view", "Listed"),
        ("select * from volatile_view, rls_t, view_of_view", "plain"),
        ("select * from u", "Listed"),
        ("select * from app.u", "UnknownRelation"),
        ("select * from unlogged_t, pg_stat_activity, activity_view, parent", "plain"),
        ("delete from unlogged_t", "Writes"),
    ] {
        assert_eq!(judged(&catalog, None, text), expected, "{text}");
    }
    for bad in ["", "a.b.c", "a b", "a."] {
        assert!(Lists::parse([bad], NONE, NONE, NONE).is_err(), "{bad}");
    }
}

const NONE: [&str; 0] = [];

#[test]
fn without_a_catalog_only_what_names_nothing_is_a_plain_read() {
    let judge = |text: &str| {
        let class: Classified = Classifier::default().classify(text.as_bytes(), true).as_ref().clone();
        class.judge(None, &SearchPath::of_server())
    };
    for plain in ["select 1", "values (1), ($1)", "select current_user", "select pg_catalog.now()", ""] {
        assert_eq!(judge(plain), Ok(()), "{plain}");
    }
    for named in ["table t", "select now()", "select 1 + 1", "select 1::text", "select f.a"] {
        assert_eq!(judge(named), Err(NeedsPrimary::NoCatalog), "{named}");
    }
    assert_eq!(judge("select nextval('s')"), Err(NeedsPrimary::Function));
}

#[test]
fn where_something_runs_unnamed_nothing_is_trusted() {
    let catalog =
        Catalog::new(1, Facts { distrust: Some(NeedsPrimary::Operator), ..facts() }, Lists::default());
    assert_eq!(judged(&catalog, None, "select * from t"), "Operator");
    assert_eq!(judged(&catalog, None, "select 1"), "plain");
}

/// Queries with an effect, or whose answer is the primary's alone.
const NOT_PLAIN: [&str; 59] = [
    "select volatile_f(1)",
    "select public.volatile_f(n) from t",
    "select overloaded(1, 2)",
    "select by_default()",
    "select by_default_2()",
    "select unheard_of()",
    "select t.volatile_f from t",
    "select (row(1)).volatile_f",
    "select 1 from volatile_f(1) x",
    "select 1 from t tablesample volatile_f(1)",
    "select 1 === 2",
    "select 1 operator(public.===) 2",
    "select 1 from t order by n using ===",
    "select 1::checked",
    "select cast(null as public.checked)",
    "select 1 from json_to_record('{}') as x(a checked)",
    "select 1 from unlogged_t",
    "select 1 from app.t",
    "select last_value from s",
    "table foreign_t",
    "select 1 from parent",
    "select 1 from only middle",
    "select 1 from volatile_view",
    "select 1 from view_of_view",
    "select 1 from nextval_view",
    "select 1 from activity_view",
    "select 1 from rls_t",
    "select nextval('s')",
    "select pg_advisory_lock(1)",
    "select 1 from pg_stat_activity",
    "select 1 from t for share",
    "with w as (delete from t returning 1) select * from w",
    "with w as (insert into t select 1 returning n), x as (select 1) select 1 from x",
    "with recursive w as (update t set n = 1 returning n) select 1 from w",
    "with w as (merge into t using u on true when matched then delete returning 1) table w",
    "select 1 from t for no key update of t skip locked",
    "select 1 into made",
    "select takes_checked('x')",
    "select 1 from typed_t",
    "select volatile_f(n => 1)",
    "select stable_f(1, volatile_f(1))",
    "select overloaded(1, variadic array[2])",
    "select count(*) filter (where volatile_f(n) = 1) from t",
    "select sum(n) over (order by volatile_f(n)) from t",
    "select array_agg(n order by volatile_f(n)) from t",
    "select 1 from t order by volatile_f(n) limit volatile_f(1)",
    "select 1 from rows from (stable_f(1), volatile_f(1)) x",
    "values (1), (volatile_f(1))",
    "table volatile_view",
    "select 1 === any (array[1])",
    "select 1 from t where (n, n) === (1, 1)",
    "select null::checked[]",
    "select xmlserialize(content '<a/>' as checked)",
    "select json_query('{}', '$' returning checked)",
    "select 1 from json_table('[]'::jsonb, '$' columns (a checked)) x",
    "select 1 from xmltable('/r' passing '<r/>' columns a checked) x",
    "select set_config('work_mem', '1MB', true)",
    "select 1 from set_config('work_mem', '1MB', false)",
    "select pg_catalog.setval('s', 1)",
];

/// Statements that are never plain reads, whatever query is in them or beside them.
const NEVER_PLAIN: [&str; 31] = [
    "explain {}",
    "explain analyze {}",
    "explain (analyze, costs off) {}",
    "create table made as {}",
    "create view made as {}",
    "create materialized view made as {}",
    "create table made as execute p(({}))",
    "prepare p as {}",
    "execute p(({}))",
    "declare c cursor for {}",
    "declare c cursor with hold for {}",
    "insert into t {}",
    "update t set n = ({})",
    "delete from t where exists ({})",
    "merge into t using ({}) x on true when matched then delete",
    "copy ({}) to program 'cat'",
    "copy ({}) to '/tmp/x'",
    "copy t from stdin where exists ({})",
    "call stable_f(({}))",
    "set work_mem to '1MB'; {}",
    "{}; set local work_mem to '1MB'",
    "begin; {}; commit",
    "begin read only; {}; commit",
    "lock table t; {}",
    "do 'begin perform 1; end'; {}",
    "select set_config('a.b', 'c', true); {}",
    "listen c; {}",
    "notify c; {}",
    "{}; discard plans",
    "fetch 1 from c; {}",
    "select 1 into made; {}",
];

/// Queries that look much like those, and are plain reads.
const PLAIN: [&str; 9] = [
    "select 1",
    "select stable_f(1), overloaded(1), by_default_2",
    "select 1 from fine_view",
    "select t.full_name from t",
    "select 1 from v, only public.u",
    "select 1 = 2 or 1 between 2 and 3",
    "select 1 from app.only_app",
    "with unheard_of as (select 1) table unheard_of",
    "select 1 from pg_class",
];

#[test]
fn nothing_with_an_effect_is_a_plain_read_however_it_is_wrapped() {
    let catalog = catalog();
    let mut rng = fastrand::Rng::with_seed(13);
    for turn in 0..3000 {
        let mut wrap = "{}".to_owned();
        for _ in 0..rng.usize(1..5) {
            wrap = AROUND[rng.usize(..AROUND.len())].replace("{}", &wrap);
        }
        let not_plain = wrap.replace("{}", NOT_PLAIN[turn % NOT_PLAIN.len()]);
        assert_ne!(judged(&catalog, None, &not_plain), "plain", "{not_plain}");
        let plain = wrap.replace("{}", PLAIN[turn % PLAIN.len()]);
        assert_eq!(judged(&catalog, None, &plain), "plain", "{plain}");
        assert_eq!(judged(&catalog, None, &format!("copy ({plain}) to stdout")), "plain", "{plain}");
        assert_ne!(judged(&catalog, None, &format!("copy ({not_plain}) to stdout")), "plain", "{not_plain}");
        for query in [&plain, &not_plain] {
            let never = NEVER_PLAIN[turn % NEVER_PLAIN.len()].replace("{}", query);
            assert_ne!(judged(&catalog, None, &never), "plain", "{never}");
        }
        // Of several statements one is enough.
        let both = [&*plain, &not_plain, "select 1"];
        assert_ne!(judged(&catalog, None, &both.join(";")), "plain", "{both:?}");
    }
}

#[test]
fn endless_views_end() {
    let mut facts = Facts::default();
    for oid in 1..50_000u32 {
        let relation =
            Relation { oid, schema: "s".into(), name: format!("v{oid}").into(), kind: Kind::Ordinary };
        facts.relations.push(relation);
        facts.parts.push(Part { owner: oid, of: Of::View, what: What::Relation(oid + 1) });
    }
    facts.parts.push(Part { owner: 49_999, of: Of::View, what: What::Relation(1) });
    let catalog = Catalog::new(1, facts, Lists::default());
    assert_eq!(judged(&catalog, Some("s"), "table v1"), "UnknownRelation");
}

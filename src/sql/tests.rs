//! What statements are found to be; that nothing is overlooked in odd places; and that no input is too much.

use std::thread;

use super::parse::LONGEST_TEXT;
use super::*;

fn classify(text: &str) -> Classified {
    Classifier::default().classify(text.as_bytes(), true).as_ref().clone()
}

#[test]
fn statements_are_found_to_be_what_the_table_says() {
    let mut checked = 0;
    for line in include_str!("statements.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (text, expected) = line.split_once("  =>  ").expect("each line has a text and an arrow");
        assert_eq!(described(&classify(text)), expected, "{text}");
        checked += 1;
    }
    assert!(checked > 500, "only {checked} statements");
}

/// Ways to put a query `{}` inside another which stays a plain read.
pub(super) const AROUND: [&str; 75] = [
    "select ({})",
    "select 1 from ({}) x",
    "select 1 from t, lateral ({}) x",
    "select 1 from t join ({}) x on true",
    "select 1 from t left join u on (({}) is null)",
    "select 1 where exists ({})",
    "select 1 where 1 in ({})",
    "select 1 where 1 = any ({})",
    "select 1 where 1 > all ({})",
    "select array({})",
    "select case when exists ({}) then 1 end",
    "select case ({}) when 1 then 2 else 3 end",
    "select coalesce(({}), 1)",
    "select greatest(1, ({}))",
    "select row(1, ({}))",
    "select (({})::text)",
    "select (array[1, ({})])[1]",
    "select (array[1])[({})]",
    "select lower(({})::text)",
    "select count(*) filter (where exists ({}))",
    "select string_agg(a, ',' order by ({})) from t",
    "select sum(a) over (partition by ({}) order by ({})) from t",
    "select 1 from t window w as (order by ({}))",
    "select 1 from t group by ({}) having exists ({})",
    "select 1 from t group by grouping sets ((), (({})))",
    "select 1 order by ({})",
    "select distinct on (({})) 1",
    "select 1 limit ({})",
    "select 1 offset ({})",
    "values (1), (({}))",
    "({}) union all select 1",
    "select 1 except ({})",
    "with x as ({}) select 1",
    "with x as materialized ({}), y as (select 1 from x) table y",
    "with recursive x as (select 1 union ({})) select 1 from x",
    "select 1 from rows from (generate_series(1, ({}))) x",
    "select 1 from t tablesample system (({}))",
    "select json_array({})",
    "select json_object('a': ({}))",
    "select xmlelement(name a, ({}))",
    "select nullif(({}), 2)",
    "select 1 in (2, ({}))",
    "select ({}) in (select 1)",
    "select ({}) between 0 and ({})",
    "select ({}) is distinct from 1",
    "select (1, ({})) = (1, 2)",
    "select (array[1, 2])[({}):({})]",
    "select not exists ({})",
    "select case when true then ({}) end",
    "select (({})::text) collate \"C\" like 'a' escape 'b'",
    "select extract(day from now() + make_interval(days => ({})))",
    "select overlay('abc' placing 'b' from ({}))",
    "select trim(both 'x' from (({})::text))",
    "select concat(variadic array[(({})::text)])",
    "select xmlforest(({}) as a)",
    "select 1 from xmltable('/r' passing '<r/>' columns a int path 'x' default ({})) x",
    "select 1 from json_table('[1]'::jsonb, '$[*]' columns (a int path '$' default ({}) on empty)) x",
    "select json_value('1', '$' default ({}) on error)",
    "select json_query('1', '$x' passing ({}) as x)",
    "select json_arrayagg(({}) order by ({}))",
    "select json_objectagg('a': ({}))",
    "select sum(a) over (order by b rows ({}) preceding) from t",
    "select percentile_cont(0.5) within group (order by ({})) from t",
    "select 1 from t tablesample bernoulli (1) repeatable (({}))",
    "select 1 from t order by a fetch first ({}) rows with ties",
    "select 1 from t order by ({}) using <",
    "select 1 from t group by rollup (({})), cube (a)",
    "select 1 from t window w as (partition by ({}) range between unbounded preceding and current row)",
    "select 1 from t a join (t b cross join lateral ({}) c) on true",
    "select 1 from t join u using (a) where exists ({})",
    "select 1 from generate_series(1, ({})) with ordinality",
    "select 1 from (values (1, ({}))) v(a, b)",
    "select 1 from t where a = any (array({}))",
    "select count(*) from (({}) union all (select 1)) x",
    "with x as not materialized ({}) table x",
];

#[test]
fn nothing_is_overlooked_however_it_is_wrapped() {
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..4000 {
        let mut wrap = "{}".to_owned();
        for _ in 0..rng.usize(1..6) {
            wrap = AROUND[rng.usize(..AROUND.len())].replace("{}", &wrap);
        }
        let verdict = |inner: &str| classify(&wrap.replace("{}", inner)).plain_read;
        assert_eq!(verdict("select 1"), Ok(()), "{wrap}");
        assert_eq!(verdict("select nextval('s')"), Err(NeedsPrimary::Function), "{wrap}");
        assert_eq!(verdict("select 1 from t for update"), Err(NeedsPrimary::Locks), "{wrap}");
        assert_eq!(verdict("select 1 from pg_locks"), Err(NeedsPrimary::NodeSpecific), "{wrap}");
        let writing = "with w as (delete from t returning 1) select * from w";
        assert_eq!(verdict(writing), Err(NeedsPrimary::Writes), "{wrap}");
    }
}

#[test]
fn random_bytes_and_broken_statements_are_survived() {
    let mut rng = fastrand::Rng::with_seed(11);
    let statements: Vec<&str> = include_str!("statements.txt").lines().collect();
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..rng.usize(..60)).map(|_| rng.u8(..)).collect();
        Classifier::default().classify(&bytes, rng.bool());
        // `read` has no net under it: a panic fails the test.
        parse::read(&String::from_utf8_lossy(&bytes));
        parse::read(&spliced(&statements, &mut rng));
    }
}

/// Puts words of several statements together.
fn spliced(statements: &[&str], rng: &mut fastrand::Rng) -> String {
    let mut text = Vec::new();
    for _ in 0..rng.usize(1..5) {
        let words: Vec<&str> = statements[rng.usize(..statements.len())].split(' ').collect();
        let from = rng.usize(..words.len());
        let upto = rng.usize(from..words.len()) + 1;
        text.extend_from_slice(&words[from..upto]);
    }
    text.join(" ")
}

/// Runs on a stack as small as that of a worker thread.
fn on_a_small_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::Builder::new().stack_size(2 << 20).spawn(work).expect("a thread can be started");
    thread.join().expect("the work does not panic")
}

#[test]
fn deep_input_does_not_overflow_the_stack() {
    let nested = |open: &str, core: &str, close: &str, depth: usize| {
        format!("select {}{core}{}", open.repeat(depth), close.repeat(depth))
    };
    let texts = [
        nested("(", "1", ")", 5000),
        nested("(select ", "1", ")", 5000),
        nested("lower(", "'a'", ")", 5000),
        nested("case when true then ", "1", " end", 5000),
        nested("array[", "1", "]", 5000),
        nested("a[", "1", "]", 5000),
        nested("not ", "true", "", 5000),
        nested("- ", "1", "", 5000),
        nested("row(", "1", ")", 50_000),
        nested("", "1", " + 1", 200_000),
        nested("", "1", "::int", 100_000),
        nested("", "true", " and true or false", 50_000),
        nested("", "1", " union all select 1", 40_000),
        nested("", "a", "[1]", 100_000),
        nested("", "a", " collate \"C\"", 50_000),
        nested("", "a", " is null", 50_000),
        format!("select 1 from {}t{}", "(".repeat(4000), " join u on true)".repeat(4000)),
        format!("{}select 1{}", "with x as (".repeat(4000), ") select 1".repeat(4000)),
        format!("select 1 from t {}", "join u on true ".repeat(50_000)),
        format!("select {}", "1, ".repeat(300_000) + "1"),
        "commit;".repeat(100_000),
        format!("set x.y = {}", "a, ".repeat(100_000) + "a"),
        format!("explain {}select 1{}", "(".repeat(4000), ")".repeat(4000)),
    ];
    for text in texts {
        assert!(text.len() <= LONGEST_TEXT);
        on_a_small_stack(move || Classifier::default().classify(text.as_bytes(), true));
    }
}

#[test]
fn deep_input_is_read_to_its_end() {
    let deep = |core: &str, depth: usize| {
        let text = format!("select {core}{}", " + 1".repeat(depth));
        on_a_small_stack(move || classify(&text).plain_read)
    };
    assert_eq!(deep("1", 100_000), Ok(()));
    assert_eq!(deep("nextval('s')", 100_000), Err(NeedsPrimary::Function));
    let nested = |core: &str| format!("select {}{core}{}", "(select ".repeat(1000), ")".repeat(1000));
    assert_eq!(classify(&nested("1")).plain_read, Ok(()));
    assert_eq!(classify(&nested("1 for update")).plain_read, Err(NeedsPrimary::Locks));
}

#[test]
fn what_cannot_be_read_is_unparsed() {
    let parsed = |text: &[u8], conforming| Classifier::default().classify(text, conforming).parsed;
    assert!(parsed(b"select 'a\\'", true));
    assert!(!parsed(b"select 'a\\'; delete from t; --'", false), "a backslash, and the setting is off");
    assert!(parsed(b"select 'it''s', $$a$$", false), "without a backslash both readings are the same");
    assert!(!parsed(b"select '\xff'", true), "not UTF-8");
    assert!(!parsed(b"select E'\\xff'", true), "a string that would not be UTF-8");
    assert!(!parsed(b"select 1\0; delete from t", true));
    let long = format!("select '{}'", "x".repeat(LONGEST_TEXT));
    assert!(!parsed(long.as_bytes(), true));
}

#[test]
fn reasons_are_the_gravest_of_the_first_statement_that_has_one() {
    let text = "select nextval('s') from (with x as (delete from t returning 1) table x) y for update";
    assert_eq!(classify(text).plain_read, Err(NeedsPrimary::Writes));
    assert_eq!(classify("select 1; begin; delete from t").plain_read, Err(NeedsPrimary::SessionState));
}

/// Writes what was found in the words of `statements.txt`.
fn described(found: &Classified) -> String {
    if !found.parsed {
        assert_eq!(*found, Classified::unparsed());
        return "Unparsed".to_owned();
    }
    let verdict = found.plain_read.map_or_else(|reason| format!("{reason:?}"), |()| "plain".to_owned());
    let effects: Vec<String> = found.statements.iter().map(effects_described).collect();
    match effects.join(" | ") {
        effects if effects.is_empty() => verdict,
        effects => format!("{verdict}: {}", effects.trim_end()),
    }
}

fn effects_described(effects: &Effects) -> String {
    let mut words = Vec::new();
    words.extend(effects.transaction.as_ref().map(|it| format!("{it:?}")));
    words.extend(effects.settings.iter().map(setting_described));
    words.extend(effects.prepared.as_ref().map(|it| format!("{it:?}")));
    words.extend(effects.discard.map(|it| format!("Discard {it:?}")));
    let left = STATES.iter().filter(|(state, _)| effects.may_leave.intersects(*state));
    words.extend(left.map(|(_, name)| format!("leaves {name}")));
    words.extend(effects.may_clear.then(|| "clears".to_owned()));
    words.extend(effects.ddl.then(|| "ddl".to_owned()));
    words.join(", ")
}

fn setting_described(change: &SettingChange) -> String {
    let scope = |local: &bool| if *local { " locally" } else { "" };
    let or_bind = |it: &Result<Box<str>, u16>| match it {
        Ok(text) => format!("{text:?}"),
        Err(index) => format!("bind {index}"),
    };
    match change {
        SettingChange::Set { name, value, local } => format!("set {name} = {value:?}{}", scope(local)),
        SettingChange::Reset { name, local } => format!("reset {name}{}", scope(local)),
        SettingChange::ResetAll => "reset all".to_owned(),
        SettingChange::SetFromBind { name, value, local } => {
            format!("set {} = {}{}", or_bind(name), or_bind(value), scope(local))
        }
    }
}

const STATES: [(SessionState, &str); 11] = [
    (SessionState::TEMP_OBJECT, "temp object"),
    (SessionState::ADVISORY_LOCK, "advisory lock"),
    (SessionState::LISTEN, "listen"),
    (SessionState::HOLD_CURSOR, "hold cursor"),
    (SessionState::SQL_PREPARED, "prepared"),
    (SessionState::SEQUENCE, "sequence"),
    (SessionState::RANDOM_SEED, "seed"),
    (SessionState::LIBRARY, "library"),
    (SessionState::DBLINK, "dblink"),
    (SessionState::UNTRACKED_SETTING, "untracked setting"),
    (SessionState::OPAQUE_CODE, "opaque code"),
];

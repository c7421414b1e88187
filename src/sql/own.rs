//! Statements that are the proxy's own to answer: its settings, `bellwether.*`, and EXPLAIN ROUTE.

use std::ops::Range;

use super::hint::skip_blank;

/// What the names of the proxy's own settings begin with.
pub const OWN_PREFIX: &str = "bellwether.";

/// One such statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Where it stands in the text, in bytes; without the semicolon behind it.
    pub place: Range<usize>,
    /// What it asks for.
    pub act: OwnAct,
}

/// What such a statement asks for. Names are folded to lower case; they may be those of no setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnAct {
    /// SET, or RESET.
    Set {
        /// Setting.
        name: Box<str>,
        /// `None` returns it to what it was at the start.
        value: Option<Box<str>>,
        /// Until the end of the transaction.
        local: bool,
        /// Written as RESET.
        reset: bool,
    },
    /// A SELECT of `set_config()` with literals, and of nothing else.
    SetConfig {
        /// Setting.
        name: Box<str>,
        /// `None` (NULL) returns it to what it was at the start.
        value: Option<Box<str>>,
        /// Until the end of the transaction.
        local: bool,
        /// Name of the column.
        column: Box<str>,
    },
    /// SHOW.
    Show(Box<str>),
    /// A change of this setting written in a way that only a server could carry out.
    Unclear(Box<str>),
    /// EXPLAIN ROUTE, of this SQL.
    ExplainRoute(Box<[u8]>),
}

/// Returns where the SQL begins of which `text` wants to know the route: behind EXPLAIN ROUTE. PostgreSQL's grammar
/// takes nothing of this form.
pub(super) fn explain_route(text: &[u8]) -> Option<usize> {
    let at = keyword(text, skip_blank(text, 0), b"explain")?;
    let from = skip_blank(text, at);
    let at = keyword(text, from, b"route").filter(|_| from > at)?;
    let from = skip_blank(text, at);
    // A comment belongs to the SQL: it may be a hint.
    (from > at && from < text.len()).then_some(at)
}

fn keyword(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    let end = at + word.len();
    text.get(at..end).filter(|found| found.eq_ignore_ascii_case(word)).map(|_| end)
}

#[cfg(test)]
mod tests {
    use super::super::{Classifier, NeedsPrimary};
    use super::*;

    fn acts(sql: &str) -> Vec<Option<OwnAct>> {
        let class = Classifier::default().classify(sql.as_bytes(), true);
        class.statements.iter().map(|effects| effects.own.as_ref().map(|own| own.act.clone())).collect()
    }

    fn set(name: &str, value: Option<&str>, local: bool, reset: bool) -> Option<OwnAct> {
        Some(OwnAct::Set { name: name.into(), value: value.map(Box::from), local, reset })
    }

    #[test]
    fn explain_route_is_found_whatever_stands_around_it() {
        for (text, rest) in [
            ("explain route select 1", Some(" select 1")),
            (
                "  -- why\nEXPLAIN/* a /* b */ */Route\n--\nselect 1; select 2",
                Some("\n--\nselect 1; select 2"),
            ),
            ("explain route/**/x", Some("/**/x")),
            ("explain route", None),
            ("explain router select 1", None),
            ("explainroute select 1", None),
            ("explain /* route", None),
            ("select 1", None),
            ("", None),
        ] {
            assert_eq!(explain_route(text.as_bytes()).map(|at| &text[at..]), rest, "{text}");
        }
        assert_eq!(acts("explain route selec"), [Some(OwnAct::ExplainRoute((*b" selec").into()))]);
    }

    #[test]
    fn own_settings_are_told_from_others() {
        let route = "bellwether.route";
        assert_eq!(acts("SET Bellwether.Route = 'primary'"), [set(route, Some("primary"), false, false)]);
        assert_eq!(acts("set local bellwether.route to default"), [set(route, None, true, false)]);
        assert_eq!(acts("reset bellwether.route"), [set(route, None, false, true)]);
        assert_eq!(acts("set work_mem = 1; show x.y; select 1"), [None, None, None]);
        assert_eq!(acts("show bellwether.route; select 1"), [Some(OwnAct::Show(route.into())), None]);
        let column = "x".into();
        assert_eq!(
            acts("select set_config('bellwether.route', 'standby', true) as x"),
            [Some(OwnAct::SetConfig {
                name: route.into(),
                value: Some("standby".into()),
                local: true,
                column
            })]
        );
        for unclear in [
            "select 1, set_config('bellwether.route', 'standby', true)",
            "select set_config('bellwether.route', $1, true)",
        ] {
            assert_eq!(acts(unclear), [Some(OwnAct::Unclear(route.into()))], "{unclear}");
        }
    }

    #[test]
    fn the_place_is_the_statement() {
        let sql = "select 1; set bellwether.route = auto ; show bellwether.route";
        let class = Classifier::default().classify(sql.as_bytes(), true);
        let places: Vec<&str> =
            class.statements.iter().flat_map(|it| &it.own).map(|own| sql[own.place.clone()].trim()).collect();
        assert_eq!(places, ["set bellwether.route = auto", "show bellwether.route"]);
        assert_eq!(class.plain_read, Ok(()));
        let other = Classifier::default().classify(b"show work_mem", true);
        assert_eq!(other.plain_read, Err(NeedsPrimary::SessionState));
    }
}

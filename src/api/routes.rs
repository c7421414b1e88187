//! The table of paths: method, path, who answers.

use hyper::{Method, StatusCode};
use serde_json::json;

use super::answers::{self, Answer, Asked, SCHEMA, Sources, error, json_answer};
use super::operations::{End, Past, Requester, Wish};
use super::{checks, patroni, status, wishes};
use crate::topology::NodeName;

/// What answers a request.
#[derive(Clone, Copy)]
pub(super) enum Handler {
    /// From what is at hand.
    Now(fn(&Sources, &Asked) -> Answer),
    /// From the history, which may take a while to get.
    History(fn(Result<Vec<Past>, End>) -> Answer),
    /// From the data plane, which may have to load a catalog first; for those only who may change something, since the
    /// answer tells what is in a database.
    Route,
    /// By carrying out the wish in the request's body.
    Wish(WishReader),
}

/// Reads a wish from the body; the error is for people.
pub(super) type WishReader = fn(&Asked, &[u8]) -> Result<(Wish, Requester), String>;

/// Methods are two: what only tells (GET, and with it HEAD and OPTIONS) and what changes (POST).
struct Route {
    path: &'static str,
    handler: Handler,
}

const fn get(path: &'static str, answer: fn(&Sources, &Asked) -> Answer) -> Route {
    Route { path, handler: Handler::Now(answer) }
}

const fn past(path: &'static str, answer: fn(Result<Vec<Past>, End>) -> Answer) -> Route {
    Route { path, handler: Handler::History(answer) }
}

const fn post(path: &'static str, read: WishReader) -> Route {
    Route { path, handler: Handler::Wish(read) }
}

const ROUTES: &[Route] = &[
    get("/metrics", answers::metrics),
    get("/livez", answers::liveness),
    get("/liveness", answers::liveness),
    get("/readyz", answers::readiness),
    get("/healthz", answers::readiness),
    get("/health", answers::readiness),
    get("/readiness", answers::readiness),
    get("/primary", checks::primary),
    get("/replica", checks::replica),
    get("/read-only", checks::read_only),
    get("/sync", checks::sync),
    get("/async", checks::asynchronous),
    get("/nodes/{node}/primary", checks::node_primary),
    get("/nodes/{node}/replica", checks::node_replica),
    get("/cluster", patroni::cluster),
    past("/history", patroni::history),
    get("/api/v1", index),
    get("/api/v1/status", status::status),
    get("/api/v1/explain", patroni::explain),
    past("/api/v1/history", patroni::own_history),
    Route { path: "/api/v1/route", handler: Handler::Route },
    post("/api/v1/switchover", wishes::switchover),
    post("/api/v1/switchover/cancel", wishes::cancel_switchover),
    post("/api/v1/failover", wishes::failover),
    post("/api/v1/pause", wishes::pause),
    post("/api/v1/resume", wishes::resume),
    post("/api/v1/preflight", wishes::preflight),
    post("/api/v1/adopt", wishes::adopt),
    post("/api/v1/nodes/{node}/drain", wishes::drain),
    post("/api/v1/nodes/{node}/undrain", wishes::undrain),
    post("/api/v1/nodes/{node}/add", wishes::add),
    post("/api/v1/nodes/{node}/remove", wishes::remove),
    post("/api/v1/nodes/{node}/set", wishes::set),
];

/// Finds who answers, or the answer that nobody does. On success the asked-for node is filled in.
pub(super) fn find(method: &Method, path: &str, asked: &mut Asked) -> Result<Handler, Answer> {
    let found = ROUTES.iter().find_map(|route| Some((route, matches(route.path, path)?)));
    let Some((route, node)) = found else {
        return Err(error(StatusCode::NOT_FOUND, &format!("there is nothing at {path}")));
    };
    asked.node = node.map(NodeName::new);
    let allowed = allowed(route);
    match allowed.split(", ").any(|one| one == method.as_str()) {
        true => Ok(route.handler),
        false => Err(error(StatusCode::METHOD_NOT_ALLOWED, &format!("{path} takes {allowed} only"))),
    }
}

/// Returns the methods that the path takes, for the header Allow; `None` where there is nothing.
pub(super) fn methods(path: &str) -> Option<&'static str> {
    ROUTES.iter().find(|route| matches(route.path, path).is_some()).map(allowed)
}

/// OPTIONS, because that is how HAProxy has asked Patroni for ages.
fn allowed(route: &Route) -> &'static str {
    match route.handler {
        Handler::Wish(_) => "POST",
        Handler::Now(_) | Handler::History(_) | Handler::Route => "GET, HEAD, OPTIONS",
    }
}

/// Whether `path` is of this form; if so, the node it names.
fn matches<'a>(form: &str, path: &'a str) -> Option<Option<&'a str>> {
    let Some((before, after)) = form.split_once("{node}") else { return (form == path).then_some(None) };
    let name = path.strip_prefix(before)?.strip_suffix(after)?;
    (!name.is_empty() && !name.contains('/')).then_some(Some(name))
}

/// What there is, so that nobody has to guess.
fn index(_: &Sources, _: &Asked) -> Answer {
    let paths = ROUTES.iter().map(|route| {
        let method = if matches!(route.handler, Handler::Wish(_)) { "POST" } else { "GET" };
        format!("{method} {}", route.path)
    });
    json_answer(StatusCode::OK, &json!({"schema": SCHEMA, "paths": paths.collect::<Vec<_>>()}))
}

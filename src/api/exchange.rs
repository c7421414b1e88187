//! One request and its response: who answers, may they, and in what form.

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};

use super::access::Door;
use super::answers::{Answer, Asked, error};
use super::body::{Payload, lost};
use super::http::Shared;
use super::operations::{Progress, Requester, Wish};
use super::route;
use super::routes::{self, Handler, WishReader};

/// Bytes the body of a wish may have: some names and a sentence.
const MOST_BODY_BYTES: usize = 64 * 1024;
/// Letters of what a requester says of themselves; more is cut off.
const MOST_WORDS: usize = 200;

/// Answers one request. hyper leaves the body out for HEAD, and keeps its length.
pub(super) async fn respond(shared: &Shared, door: Door, request: Request<Incoming>) -> Response<Payload> {
    let path = request.uri().path().to_owned();
    let header = |name: HeaderName| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let query = request.uri().query().unwrap_or_default().to_owned();
    let mut asked = Asked { node: None, query, accept: header(ACCEPT) };
    let method = request.method().clone();
    let handler = match routes::find(&method, &path, &mut asked) {
        Ok(handler) => handler,
        Err(answer) => return whole(answer, &path),
    };
    let answer = match handler {
        Handler::Wish(read) => {
            if let Err(refused) = shared.access.check(door, header(AUTHORIZATION).as_deref()) {
                return whole(*refused, &path);
            }
            match wish(read, &asked, door, request.into_body()).await {
                Ok((wish, by)) => return carried_out(shared, wish, by).await,
                Err(answer) => *answer,
            }
        }
        // Nothing else takes a body, so none is read, however long.
        _ if !request.body().is_end_stream() => {
            error(StatusCode::PAYLOAD_TOO_LARGE, "this request takes no body")
        }
        Handler::Now(answer) => answer(&shared.sources, &asked),
        Handler::Route => {
            if let Err(refused) = shared.access.check(door, header(AUTHORIZATION).as_deref()) {
                return whole(*refused, &path);
            }
            match route::question(&asked) {
                Ok(question) => route::answer((shared.sources.route)(question).await),
                Err(answer) => *answer,
            }
        }
        Handler::History(answer) => answer(shared.sources.operations.history().await),
    };
    let mut response = whole(answer, &path);
    if method == Method::OPTIONS {
        *response.body_mut() = Payload::Whole(Bytes::new());
    }
    response
}

async fn wish(
    read: WishReader,
    asked: &Asked,
    door: Door,
    body: Incoming,
) -> Result<(Wish, Requester), Box<Answer>> {
    let too_long = |_| Box::new(error(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long, or broke off"));
    let body = Limited::new(body, MOST_BODY_BYTES).collect().await.map_err(too_long)?.to_bytes();
    let (wish, by) = read(asked, &body).map_err(|wrong| Box::new(error(StatusCode::BAD_REQUEST, &wrong)))?;
    let short =
        |words: String| words.chars().filter(|letter| !letter.is_control()).take(MOST_WORDS).collect();
    let who = by.by.map(short).filter(|who: &String| !who.is_empty()).unwrap_or_else(|| door.to_string());
    Ok((wish, Requester { by: Some(who), reason: by.reason.map(short) }))
}

/// Sends what happens as it happens. The status is that of the end where there is nothing before it.
async fn carried_out(shared: &Shared, wish: Wish, by: Requester) -> Response<Payload> {
    tracing::info!(event = "operator", by = by.by, reason = by.reason, "asked for {wish:?}");
    let mut rest = shared.sources.operations.request(wish, by);
    let first = rest.recv().await.unwrap_or_else(lost);
    let status = match &first {
        Progress::End(end) => end.outcome.status(),
        _ => StatusCode::OK,
    };
    let mut response = Response::new(Payload::Lines { first: Some(first), rest, ended: false });
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response
}

fn whole(answer: Answer, path: &str) -> Response<Payload> {
    let Answer { status, content_type, body } = answer;
    let mut response = Response::new(Payload::Whole(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            let methods = routes::methods(path).unwrap_or("GET, HEAD, OPTIONS");
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        StatusCode::UNAUTHORIZED => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        _ => {}
    }
    response
}

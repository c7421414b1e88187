//! What a response is made of: one text, or lines of JSON that come while something happens.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::mpsc;

use super::operations::{End, Outcome, Progress};

/// The body of a response.
pub(super) enum Payload {
    /// All of it; empty once sent.
    Whole(Bytes),
    /// Lines as they come.
    Lines {
        /// One that was taken off already, to choose the status by.
        first: Option<Progress>,
        /// The others.
        rest: mpsc::Receiver<Progress>,
        /// Whether the last event has been sent, so that a closed channel is what is expected.
        ended: bool,
    },
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let progress = match self.get_mut() {
            Payload::Whole(text) if text.is_empty() => return Poll::Ready(None),
            Payload::Whole(text) => return Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
            Payload::Lines { ended: true, .. } => return Poll::Ready(None),
            Payload::Lines { first, rest, ended } => {
                let next = match first.take() {
                    Some(first) => Some(first),
                    None => std::task::ready!(rest.poll_recv(context)),
                };
                // Whoever carried it out is gone without a word.
                let next = next.unwrap_or_else(lost);
                *ended = matches!(next, Progress::End(_));
                next
            }
        };
        Poll::Ready(Some(Ok(Frame::data(line(&progress)))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Payload::Whole(text) => text.is_empty(),
            Payload::Lines { ended, .. } => *ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Payload::Whole(text) => SizeHint::with_exact(text.len() as u64),
            Payload::Lines { .. } => SizeHint::default(),
        }
    }
}

/// What is said when nothing more comes.
pub(super) fn lost() -> Progress {
    let end = End::new(Outcome::Unknown, "how it ended is not known: the work broke off");
    Progress::End(end.hint("bellwether status shows where things stand"))
}

/// One event, one line.
pub(super) fn line(progress: &Progress) -> Bytes {
    let mut text = serde_json::to_vec(progress).expect("events are plain text and numbers");
    text.push(b'\n');
    Bytes::from(text)
}

//! Feeds arbitrary bytes to everything in this group that reads hostile ones. For fuzz targets and their replay.

use super::backend::{self, AuthenticationRequest, TransactionStatus};
use super::error_response::{ErrorFields, PgError};
use super::frame::{HEAD, Head};
use super::frontend;
use super::startup::{self, FirstPacket};
use super::write;

/// Reads `data` as a run of messages, each as every kind of either direction.
///
/// Panics when what is found does not lie within the message, or when an error does not survive being written.
pub fn frames(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some(head)) = Head::read(rest) {
        let allowed = frontend::check(head).is_ok();
        assert!(!allowed || head.total <= u32::MAX as usize);
        let (message, after) = rest.split_at(head.total.min(rest.len()));
        let body = message.get(HEAD..).unwrap_or_default();
        frontend_views(body);
        backend_views(body);
        rest = after;
    }
}

fn frontend_views(body: &[u8]) {
    let _ = (frontend::query(body), frontend::target(body), frontend::execute(body));
    if let Ok(parse) = frontend::parse(body) {
        assert!(parse.name.len() + parse.text.len() + parse.types.len() + 4 == body.len());
    }
    if let Ok(bind) = frontend::bind(body) {
        assert!(bind.portal.len() + bind.statement.len() + bind.rest.len() + 2 == body.len());
        for index in [0, 1, usize::from(u16::MAX)] {
            let found = frontend::text_parameter(bind.rest, index);
            assert!(found.is_none_or(|value| value.len() <= bind.rest.len()));
        }
    }
}

fn backend_views(body: &[u8]) {
    let _ = (TransactionStatus::read(body), AuthenticationRequest::read(body));
    let _ = (backend::parameter_status(body), backend::backend_key_data(body), backend::command_tag(body));
    let _ = backend::data_row(body, |_, value| assert!(value.is_none_or(|value| value.len() <= body.len())));
    let error: PgError = ErrorFields::read(body).to_error();
    let mut written = Vec::new();
    error.write(&mut written);
    assert_eq!(ErrorFields::read(&written[HEAD..]).to_error(), error);
}

/// Reads `data` as the first packet of a connection.
///
/// Panics when a StartupMessage that was read does not read the same once written again.
pub fn first_packet(data: &[u8]) {
    let _ = startup::first_packet_length(data);
    let Ok(FirstPacket::Startup(read)) = startup::parse_first_packet(data) else { return };
    let _ = (read.get("user"), read.protocol_options().count(), read.version.negotiated());
    let mut written = Vec::new();
    write::startup(&mut written, read.version, read.parameters.iter().copied());
    assert_eq!(startup::parse_first_packet(&written), Ok(FirstPacket::Startup(read)));
}

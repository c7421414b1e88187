//! The messages we originate, in both directions. Each function appends one whole message.

use super::startup::ProtocolVersion;

/// Appends a message with `tag` and the body that `fill` writes.
pub fn message(out: &mut Vec<u8>, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    untagged(out, fill);
}

/// Appends a message that has a length but no tag (startup packets).
pub fn untagged(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = u32::try_from(out.len() - start).expect("messages we originate are far below 4 GiB");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn cstr(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
    out.push(0);
}

// ---- to a server ----

/// StartupMessage with the given parameters.
pub fn startup<'a>(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    untagged(out, |body| {
        body.extend_from_slice(&version.0.to_be_bytes());
        for (name, value) in parameters {
            cstr(body, name.as_bytes());
            cstr(body, value.as_bytes());
        }
        body.push(0);
    });
}

/// SSLRequest.
pub fn ssl_request(out: &mut Vec<u8>) {
    untagged(out, |body| body.extend_from_slice(&((1234u32 << 16) | 5679).to_be_bytes()));
}

/// CancelRequest for the connection that was given this process id and key.
pub fn cancel_request(out: &mut Vec<u8>, pid: i32, key: &[u8]) {
    untagged(out, |body| {
        body.extend_from_slice(&((1234u32 << 16) | 5678).to_be_bytes());
        body.extend_from_slice(&pid.to_be_bytes());
        body.extend_from_slice(key);
    });
}

/// PasswordMessage, also SASLResponse: `data` is the whole body (a password needs its own zero byte).
pub fn password(out: &mut Vec<u8>, data: &[u8]) {
    message(out, b'p', |body| body.extend_from_slice(data));
}

/// SASLInitialResponse.
pub fn sasl_initial(out: &mut Vec<u8>, mechanism: &str, data: &[u8]) {
    message(out, b'p', |body| {
        cstr(body, mechanism.as_bytes());
        body.extend_from_slice(&(data.len() as u32).to_be_bytes());
        body.extend_from_slice(data);
    });
}

/// Query.
pub fn query(out: &mut Vec<u8>, sql: &[u8]) {
    message(out, b'Q', |body| cstr(body, sql));
}

/// Parse; `types` is the list of parameter type OIDs as on the wire, four bytes each.
pub fn parse(out: &mut Vec<u8>, name: &[u8], sql: &[u8], types: &[u8]) {
    message(out, b'P', |body| {
        cstr(body, name);
        cstr(body, sql);
        body.extend_from_slice(&((types.len() / 4) as u16).to_be_bytes());
        body.extend_from_slice(types);
    });
}

/// Bind of the unnamed portal to `statement`, without parameters, results as text.
pub fn bind(out: &mut Vec<u8>, statement: &[u8]) {
    bind_portal(out, b"", statement);
}

/// The same of a portal with a name.
pub fn bind_portal(out: &mut Vec<u8>, portal: &[u8], statement: &[u8]) {
    message(out, b'B', |body| {
        cstr(body, portal);
        cstr(body, statement);
        body.extend_from_slice(&[0; 6]);
    });
}

/// Execute of the unnamed portal, all rows.
pub fn execute(out: &mut Vec<u8>) {
    execute_portal(out, b"");
}

/// The same of a portal with a name.
pub fn execute_portal(out: &mut Vec<u8>, portal: &[u8]) {
    message(out, b'E', |body| {
        cstr(body, portal);
        body.extend_from_slice(&[0; 4]);
    });
}

/// Close of a portal.
pub fn close_portal(out: &mut Vec<u8>, name: &[u8]) {
    message(out, b'C', |body| {
        body.push(b'P');
        cstr(body, name);
    });
}

/// Describe of a prepared statement.
pub fn describe_statement(out: &mut Vec<u8>, name: &[u8]) {
    message(out, b'D', |body| {
        body.push(b'S');
        cstr(body, name);
    });
}

/// Close of a prepared statement.
pub fn close_statement(out: &mut Vec<u8>, name: &[u8]) {
    message(out, b'C', |body| {
        body.push(b'S');
        cstr(body, name);
    });
}

/// Sync.
pub fn sync(out: &mut Vec<u8>) {
    out.extend_from_slice(b"S\0\0\0\x04");
}

/// Flush.
pub fn flush(out: &mut Vec<u8>) {
    out.extend_from_slice(b"H\0\0\0\x04");
}

/// Terminate.
pub fn terminate(out: &mut Vec<u8>) {
    out.extend_from_slice(b"X\0\0\0\x04");
}

/// CopyFail with a reason.
pub fn copy_fail(out: &mut Vec<u8>, reason: &str) {
    message(out, b'f', |body| cstr(body, reason.as_bytes()));
}

// ---- to a client ----

/// AuthenticationOk.
pub fn authentication_ok(out: &mut Vec<u8>) {
    out.extend_from_slice(b"R\0\0\0\x08\0\0\0\0");
}

/// AuthenticationCleartextPassword.
pub fn authentication_cleartext(out: &mut Vec<u8>) {
    out.extend_from_slice(b"R\0\0\0\x08\0\0\0\x03");
}

/// AuthenticationMD5Password.
pub fn authentication_md5(out: &mut Vec<u8>, salt: [u8; 4]) {
    out.extend_from_slice(b"R\0\0\0\x0c\0\0\0\x05");
    out.extend_from_slice(&salt);
}

/// AuthenticationSASL with the mechanisms on offer, best first.
pub fn authentication_sasl(out: &mut Vec<u8>, mechanisms: &[&str]) {
    message(out, b'R', |body| {
        body.extend_from_slice(&10u32.to_be_bytes());
        for mechanism in mechanisms {
            cstr(body, mechanism.as_bytes());
        }
        body.push(0);
    });
}

/// AuthenticationSASLContinue.
pub fn authentication_sasl_continue(out: &mut Vec<u8>, data: &[u8]) {
    message(out, b'R', |body| {
        body.extend_from_slice(&11u32.to_be_bytes());
        body.extend_from_slice(data);
    });
}

/// AuthenticationSASLFinal.
pub fn authentication_sasl_final(out: &mut Vec<u8>, data: &[u8]) {
    message(out, b'R', |body| {
        body.extend_from_slice(&12u32.to_be_bytes());
        body.extend_from_slice(data);
    });
}

/// NegotiateProtocolVersion: the minor version we speak, and the options we do not know.
pub fn negotiate_protocol_version(out: &mut Vec<u8>, version: ProtocolVersion, unknown: &[&str]) {
    message(out, b'v', |body| {
        body.extend_from_slice(&version.0.to_be_bytes());
        body.extend_from_slice(&(unknown.len() as u32).to_be_bytes());
        for option in unknown {
            cstr(body, option.as_bytes());
        }
    });
}

/// BackendKeyData.
pub fn backend_key_data(out: &mut Vec<u8>, pid: i32, key: &[u8]) {
    message(out, b'K', |body| {
        body.extend_from_slice(&pid.to_be_bytes());
        body.extend_from_slice(key);
    });
}

/// ParameterStatus.
pub fn parameter_status(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    message(out, b'S', |body| {
        cstr(body, name);
        cstr(body, value);
    });
}

/// ReadyForQuery with the status byte `I`, `T` or `E`.
pub fn ready_for_query(out: &mut Vec<u8>, status: u8) {
    out.extend_from_slice(&[b'Z', 0, 0, 0, 5, status]);
}

/// CommandComplete.
pub fn command_complete(out: &mut Vec<u8>, tag: &str) {
    message(out, b'C', |body| cstr(body, tag.as_bytes()));
}

/// RowDescription of text columns (`text`, OID 25).
pub fn text_row_description(out: &mut Vec<u8>, columns: &[&str]) {
    message(out, b'T', |body| {
        body.extend_from_slice(&(columns.len() as u16).to_be_bytes());
        for column in columns {
            cstr(body, column.as_bytes());
            body.extend_from_slice(&[0; 6]); // no table, no column number
            body.extend_from_slice(&25u32.to_be_bytes());
            body.extend_from_slice(&(-1i16).to_be_bytes());
            body.extend_from_slice(&(-1i32).to_be_bytes());
            body.extend_from_slice(&[0; 2]); // text format
        }
    });
}

/// DataRow of text values; `None` is NULL.
pub fn text_row<'a>(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = Option<&'a str>>) {
    message(out, b'D', |body| {
        body.extend_from_slice(&(values.len() as u16).to_be_bytes());
        for value in values {
            match value {
                Some(text) => {
                    body.extend_from_slice(&(text.len() as u32).to_be_bytes());
                    body.extend_from_slice(text.as_bytes());
                }
                None => body.extend_from_slice(&(-1i32).to_be_bytes()),
            }
        }
    });
}

/// ParseComplete, five bytes.
pub const PARSE_COMPLETE: &[u8] = b"1\0\0\0\x04";

/// CloseComplete, five bytes.
pub const CLOSE_COMPLETE: &[u8] = b"3\0\0\0\x04";

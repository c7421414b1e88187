//! COPY FROM STDIN, from its beginning to each of its ends.

use std::collections::VecDeque;

use super::sql::Statement;
use super::{Copying, Failure, Fake};

impl Fake {
    pub(super) fn begin_copy(&mut self, extended: bool, rest: VecDeque<(String, Statement)>) {
        self.emit(b'G', |body| body.extend_from_slice(&[0, 0, 1, 0, 0]));
        self.flush();
        self.copying = Some(Copying { rows: 0, extended, rest });
    }

    pub(super) fn copy_message(&mut self, tag: u8, body: &[u8]) {
        let Some(copying) = &mut self.copying else { return };
        let extended = copying.extended;
        let failure = match tag {
            b'd' if body.starts_with(b"bad") => {
                Failure::new("22P04", "extra data after last expected column")
            }
            b'd' => {
                copying.rows += 1;
                return;
            }
            b'H' | b'S' => return,
            b'c' => return self.end_copy(),
            b'f' => Failure::new("57014", "COPY from stdin failed"),
            _ => {
                let what = format!("unexpected message type 0x{tag:02X} during COPY from stdin");
                self.fail(&Failure::new("08P01", what));
                self.emit(b'E', |body| {
                    body.extend_from_slice(b"SFATAL\0VFATAL\0C08P01\0Mterminating connection because protocol synchronization was lost\0\0");
                });
                self.flush();
                self.closed = true;
                return;
            }
        };
        self.fail(&failure);
        if extended {
            self.skipping = true;
        } else {
            self.ready();
        }
    }

    fn end_copy(&mut self) {
        let Some(Copying { rows, extended, rest }) = self.copying.take() else { return };
        self.inserted.extend((0..rows).map(|_| "copied".to_string()));
        self.complete(&format!("COPY {rows}"));
        if !extended {
            self.run_all(rest);
        }
    }
}

//! Which coordinator is active: the epoch register.
//!
//! Not a lease: safety rests on every transaction comparing the epoch and on the nodes being owned, so taking over is
//! always allowed, and merely rude while the other one lives. A coordinator whose beat has not changed for a while on
//! one's own clock is taken to be dead.

use super::key::Key;
use super::moment::Moment;
use super::records::{Beat, Epoch, Record};
use super::settings::Settings;
use super::transaction::{Revision, Txn, View};

/// What was seen of the active coordinator.
#[derive(Debug, Default)]
pub(super) struct Claim {
    seen: Option<(Revision, Revision, Moment)>,
}

impl Claim {
    /// Takes a reading of the store.
    pub(super) fn hear(&mut self, now: Moment, view: &View) {
        let (epoch, beat) = (view.modified(&Key::Epoch), view.modified(&Key::Beat));
        if self.seen.is_none_or(|(e, b, _)| (e, b) != (epoch, beat)) {
            self.seen = Some((epoch, beat, now));
        }
    }

    /// Returns the transaction that takes over; errs with when to look again while the other one seems to live.
    pub(super) fn steal(&self, now: Moment, view: &View, settings: &Settings) -> Result<Txn, Option<Moment>> {
        let Some((epoch_at, beat_at, since)) = self.seen else { return Err(None) };
        let stale_at = since + settings.timings.beat_stale;
        // No beat: it said goodbye.
        if epoch_at != Revision(0) && beat_at != Revision(0) && now < stale_at {
            return Err(Some(stale_at));
        }
        let number = view.epoch().map_or(0, |epoch| epoch.number) + 1;
        let epoch = Epoch { number, coordinator: settings.me.clone(), incarnation: settings.incarnation };
        Ok(Txn::new()
            .if_at(Key::Epoch, epoch_at)
            .if_at(Key::Beat, beat_at)
            .put(Key::Epoch, Record::Epoch(epoch))
            .put(Key::Beat, Record::Beat(Beat { epoch: number, count: 0 })))
    }
}

//! The session's own settings, `bellwether.*`, with the transactional life of PostgreSQL's settings. No server knows them.

use crate::routing::{OwnSetting, Wishes};

/// What holds now, what will hold after the transaction, and what to fall back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    startup: Wishes,
    /// With what SET LOCAL has put on top.
    now: Wishes,
    /// What stays if the transaction commits.
    lasting: Wishes,
    /// What a rollback returns to; `None` while the transaction has changed nothing.
    before: Option<Wishes>,
}

/// The values at a savepoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnMark {
    now: Wishes,
    lasting: Wishes,
}

impl Own {
    pub fn new(startup: Wishes) -> Self {
        Own { startup, now: startup, lasting: startup, before: None }
    }

    /// Returns the values that hold.
    pub fn now(&self) -> &Wishes {
        &self.now
    }

    /// Follows SET, or RESET when `value` is `None`. A value that the setting cannot have changes nothing.
    pub fn change(&mut self, setting: OwnSetting, value: Option<&str>, local: bool) {
        let startup = self.startup;
        let put = |wishes: &mut Wishes| match value {
            Some(value) => wishes.set(setting, value).is_ok(),
            None => {
                wishes.reset(setting, &startup);
                true
            }
        };
        let before = self.lasting;
        if put(&mut self.now) {
            self.before.get_or_insert(before);
            if !local {
                let now = self.now;
                self.lasting.reset(setting, &now);
            }
        }
    }

    /// Follows RESET ALL.
    pub fn reset_all(&mut self) {
        self.before.get_or_insert(self.lasting);
        (self.now, self.lasting) = (self.startup, self.startup);
    }

    /// Follows the end of a transaction that kept its changes.
    pub fn commit(&mut self) {
        if self.before.take().is_some() {
            self.now = self.lasting;
        }
    }

    /// Follows the end of a transaction that undid its changes.
    pub fn rollback(&mut self) {
        if let Some(before) = self.before.take() {
            (self.now, self.lasting) = (before, before);
        }
    }

    /// Follows SAVEPOINT.
    pub fn mark(&self) -> OwnMark {
        OwnMark { now: self.now, lasting: self.lasting }
    }

    /// Follows ROLLBACK TO SAVEPOINT.
    pub fn return_to(&mut self, mark: OwnMark) {
        (self.now, self.lasting) = (mark.now, mark.lasting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::Route;

    fn set(own: &mut Own, value: &str) {
        own.change(OwnSetting::Route, Some(value), false);
    }

    #[test]
    fn local_values_end_with_the_transaction_and_lasting_ones_stay() {
        let mut own = Own::new(Wishes::default());
        set(&mut own, "standby");
        own.change(OwnSetting::Route, Some("primary"), true);
        assert_eq!(own.now().route, Route::Primary);
        own.commit();
        assert_eq!(own.now().route, Route::Standby);
        own.change(OwnSetting::Route, Some("primary"), true);
        set(&mut own, "auto");
        own.commit();
        assert_eq!(own.now().route, Route::Auto);
        own.change(OwnSetting::Route, Some("primary"), true);
        own.commit();
        assert_eq!(own.now().route, Route::Auto);
    }

    #[test]
    fn what_is_rolled_back_is_undone() {
        let startup = Wishes { route: Route::Standby, ..Wishes::default() };
        let mut own = Own::new(startup);
        set(&mut own, "primary");
        own.commit();
        set(&mut own, "auto");
        let mark = own.mark();
        own.change(OwnSetting::Route, None, false);
        assert_eq!(own.now().route, Route::Standby);
        own.return_to(mark);
        assert_eq!(own.now().route, Route::Auto);
        set(&mut own, "nonsense");
        assert_eq!(own.now().route, Route::Auto);
        own.rollback();
        assert_eq!(own.now().route, Route::Primary);
        own.reset_all();
        own.commit();
        assert_eq!(*own.now(), startup);
    }
}

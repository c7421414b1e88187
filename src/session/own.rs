//! The session's own settings, `bellwether.*`, with the transactional life of PostgreSQL's settings. No server knows them.

use crate::routing::{OwnSetting, Wishes};

/// The values of one session. Few ever change one, so what that takes is apart.
#[derive(Debug)]
pub(super) struct Own {
    startup: Wishes,
    changed: Option<Box<Changed>>,
}

/// What holds now, what will hold after the transaction, and what to fall back to.
#[derive(Debug)]
struct Changed {
    /// With what SET LOCAL has put on top.
    now: Wishes,
    /// What stays if the transaction commits.
    lasting: Wishes,
    /// What a rollback returns to; `None` while the transaction has changed nothing.
    before: Option<Wishes>,
}

/// The values at a savepoint; `None` before the first change.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnMark(Option<(Wishes, Wishes)>);

impl Own {
    pub fn new(startup: Wishes) -> Self {
        Own { startup, changed: None }
    }

    /// Returns the values that hold.
    pub fn now(&self) -> &Wishes {
        self.changed.as_ref().map_or(&self.startup, |changed| &changed.now)
    }

    fn changed(&mut self) -> &mut Changed {
        let startup = self.startup;
        self.changed.get_or_insert_with(|| Box::new(Changed { now: startup, lasting: startup, before: None }))
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
        let changed = self.changed();
        let before = changed.lasting;
        if put(&mut changed.now) {
            changed.before.get_or_insert(before);
            if !local {
                changed.lasting.reset(setting, &changed.now);
            }
        }
    }

    /// Follows RESET ALL.
    pub fn reset_all(&mut self) {
        let startup = self.startup;
        if let Some(changed) = &mut self.changed {
            changed.before.get_or_insert(changed.lasting);
            (changed.now, changed.lasting) = (startup, startup);
        }
    }

    /// Follows the end of a transaction that kept its changes.
    pub fn commit(&mut self) {
        if let Some(changed) = &mut self.changed
            && changed.before.take().is_some()
        {
            changed.now = changed.lasting;
        }
    }

    /// Follows the end of a transaction that undid its changes.
    pub fn rollback(&mut self) {
        if let Some(changed) = &mut self.changed
            && let Some(before) = changed.before.take()
        {
            (changed.now, changed.lasting) = (before, before);
        }
    }

    /// Follows SAVEPOINT.
    pub fn mark(&self) -> OwnMark {
        OwnMark(self.changed.as_ref().map(|changed| (changed.now, changed.lasting)))
    }

    /// Follows ROLLBACK TO SAVEPOINT.
    pub fn return_to(&mut self, mark: OwnMark) {
        let startup = self.startup;
        if let Some(changed) = &mut self.changed {
            (changed.now, changed.lasting) = mark.0.unwrap_or((startup, startup));
        }
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

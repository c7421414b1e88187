//! What a session asks of routing: leave it to the proof, or take one kind of node.

/// Where a session, or one statement by its hint, wants to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Route {
    /// Plain reads to standbys, everything else to the primary.
    #[default]
    Auto,
    /// Everything to the primary.
    Primary,
    /// Also what is not proven a plain read to a standby, as far as that can be right there at all.
    Standby,
}

impl Route {
    /// All of them with their names, as a setting or a hint spells them.
    pub const NAMES: [(&'static str, Route); 3] =
        [("auto", Route::Auto), ("primary", Route::Primary), ("standby", Route::Standby)];

    /// Reads a name, whatever its case; `None` if there is no such route.
    pub fn parse(name: &str) -> Option<Route> {
        Self::NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, route)| *route)
    }

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Route::Auto => "auto",
            Route::Primary => "primary",
            Route::Standby => "standby",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back() {
        for (name, route) in Route::NAMES {
            assert_eq!((Route::parse(&name.to_uppercase()), route.name()), (Some(route), name));
        }
        assert_eq!((Route::parse("replica"), Route::parse("")), (None, None));
    }
}

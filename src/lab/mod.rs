//! A throw-away cluster of real processes, for the demo and the tests.

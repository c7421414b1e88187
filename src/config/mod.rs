//! The configuration file: read, checked, turned into the settings the other groups declare.

//! The broker: one handler per request over small tables.

//! The fastest possible broker, and the load generator that compares ours with it.

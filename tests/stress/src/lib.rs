//! OS threads hammering what the simulator runs on one thread: see the tests.

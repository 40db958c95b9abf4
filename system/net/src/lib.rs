//! The protocol on sockets: connections, calls and servers.

//! Hosts and strangers that do everything wrong with queue pairs and their connection manager, while a live host works on.

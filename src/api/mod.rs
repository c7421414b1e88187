//! HTTP: metrics, health, state as JSON.

//! What commands with more than a call behind them do with their arguments.

pub mod adopt;
pub mod install;
pub mod repair;
pub mod reset;

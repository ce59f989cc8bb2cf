//! Tests of the whole: the house rules, the real controller on a simulated EC2, the interface and
//! the command line. One binary, so that it is linked once.

#[cfg(test)]
mod account;
#[cfg(test)]
mod admit;
#[cfg(test)]
mod audit;
#[cfg(test)]
mod audit_command;
#[cfg(test)]
mod audit_render;
#[cfg(test)]
mod budget_action;
mod cli;
#[cfg(test)]
mod config;
mod config_user_data;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod declare;
#[cfg(test)]
mod doctor;
mod doctor_choice;
mod doctor_pool;
#[cfg(all(test, feature = "ec2"))]
mod doctor_wire;
// Not marked as a test: the example is linted as the example that it is.
mod embedding;
#[cfg(all(test, feature = "ec2"))]
mod emulator;
#[cfg(all(test, feature = "ec2"))]
mod emulator_agents;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod iam;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod ledger_chain;
mod ledger_fold;
#[cfg(test)]
mod link;
#[cfg(test)]
mod loud;
mod meter;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod notices;
#[cfg(test)]
mod page;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod rebake;
#[cfg(test)]
mod recipes;
#[cfg(test)]
mod record;
#[cfg(test)]
mod records;
#[cfg(test)]
mod run_command;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod setup;
mod simulation;
#[cfg(test)]
mod soak;
mod source;
#[cfg(test)]
mod sweep;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod units;
#[cfg(test)]
mod wire;

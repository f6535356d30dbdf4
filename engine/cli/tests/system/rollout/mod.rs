//! Rollouts: waves, budgets, rules, gates, windows and approvals, shown with real processes.

mod check;

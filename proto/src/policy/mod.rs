//! Policies as the API has them, checked: every violation is told.

mod from;
mod gates;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use muster_model::policy::{
    Abort, Amount, Approval, AtEnd, Availability, Cap, Changed, EXPIRES, Evidence, Freeze, InFlight, Limits,
    MAX_WAVES, Membership, Policy, Ramp, Share, Size, Strata, Stratum, Unseen, Wave, Window, Zone,
    waves_are_wrong,
};

use crate::{Violation, duration, v1};

/// Collects what is wrong with a message.
struct Check {
    violations: Vec<Violation>,
}

impl Check {
    fn tell(&mut self, field: impl fmt::Display, what: impl fmt::Display) {
        self.violations
            .push(Violation::new(field.to_string(), what.to_string()));
    }

    /// A value written as text; `otherwise` when it is empty or wrong.
    fn text<T: FromStr<Err: fmt::Display>>(
        &mut self,
        text: &str,
        otherwise: T,
        field: impl fmt::Display,
    ) -> T {
        if text.is_empty() {
            return otherwise;
        }
        text.parse().unwrap_or_else(|error: T::Err| {
            self.tell(field, error);
            otherwise
        })
    }

    /// A duration; `otherwise` when it is absent or wrong.
    fn duration(
        &mut self,
        message: Option<&prost_types::Duration>,
        otherwise: Duration,
        field: impl fmt::Display,
    ) -> Duration {
        match message.map(duration) {
            None => otherwise,
            Some(Some(given)) => given,
            Some(None) => {
                self.tell(field, "it is negative");
                otherwise
            }
        }
    }

    fn label(&mut self, key: &str, field: impl fmt::Display) -> String {
        if let Err(error) = muster_model::name::check(key) {
            self.tell(field, format!("{key:?} is no label: it {error}"));
        }
        key.to_owned()
    }
}

/// A checked policy. `path` is where the message stands in the request; budget and concurrency come from beside it.
pub fn policy(
    message: &v1::Policy,
    path: &str,
    budget: Amount,
    concurrency: Option<u32>,
) -> Result<Policy, Vec<Violation>> {
    let mut check = Check {
        violations: Vec::new(),
    };
    let defaults = Policy::default();
    let membership = match message.membership() {
        v1::Membership::Continuous => Membership::Continuous,
        v1::Membership::Snapshot | v1::Membership::Unspecified => Membership::Snapshot,
    };
    let expires = check.duration(message.expires.as_ref(), EXPIRES, format!("{path}.expires"));
    if expires.is_zero() {
        check.tell(format!("{path}.expires"), "it is no time at all");
    }
    let checked = Policy {
        waves: match message.waves.is_empty() {
            true => defaults.waves,
            false => check.waves(&message.waves, path),
        },
        membership,
        rules: match message.rules.is_empty() {
            true => defaults.rules,
            false => check.rules(&message.rules, path),
        },
        evidence: message
            .evidence
            .as_ref()
            .and_then(|evidence| check.evidence(evidence, path)),
        limits: Limits {
            concurrency,
            budget,
            caps: check.caps(&message.caps, path),
            availability: check.availability(&message.availability, path),
        },
        ramp: message.ramp.as_ref().map(|ramp| check.ramp(ramp, path)),
        parent_label: match message.parent_label.as_str() {
            "" => None,
            label => Some(check.label(label, format!("{path}.parent_label"))),
        },
        windows: check.windows(&message.windows, path),
        zone_label: match message.zone_label.as_str() {
            "" => None,
            label => Some(check.label(label, format!("{path}.zone_label"))),
        },
        freezes: check.freezes(&message.freezes, path),
        at_end: match message.stop_at_window_end {
            true => AtEnd::Stop,
            false => AtEnd::Finish,
        },
        expires,
        approval: check.approval(message.approvals_needed, &message.approvers, path, "approvers"),
        abort: Abort {
            changed: match message.abort_reverts {
                true => Changed::Revert,
                false => Changed::Keep,
            },
            in_flight: match message.abort_stops_at_step {
                true => InFlight::StopAtStep,
                false => InFlight::Finish,
            },
        },
        unseen: match message.allow_unseen {
            true => Unseen::Allow,
            false => Unseen::Reject,
        },
    };
    if let Some((part, why)) = checked.against_newcomers() {
        check.tell(
            format!("{path}.membership"),
            format!("{why}; with {part} it is to be snapshot"),
        );
    }
    match check.violations.is_empty() {
        true => Ok(checked),
        false => Err(check.violations),
    }
}

impl Check {
    fn waves(&mut self, messages: &[v1::WavePolicy], path: &str) -> Vec<Wave> {
        if messages.len() > MAX_WAVES {
            self.tell(
                format!("{path}.waves"),
                format!("{} waves; at most {MAX_WAVES} are allowed", messages.len()),
            );
            return Vec::new();
        }
        let before = self.violations.len();
        let waves = messages
            .iter()
            .enumerate()
            .map(|(at, wave)| self.wave(wave, &format!("{path}.waves[{at}]")));
        let waves = waves.collect::<Vec<_>>();
        if self.violations.len() == before {
            for (at, what) in waves_are_wrong(&waves) {
                self.tell(format!("{path}.waves[{at}].size"), what);
            }
        }
        waves
    }

    fn wave(&mut self, message: &v1::WavePolicy, path: &str) -> Wave {
        let strata = match (message.per_stratum, message.strata.is_empty()) {
            (0, true) => None,
            (per, no_kinds) => Some(Strata {
                per: per.max(1),
                by: match no_kinds {
                    true => Strata::by_default(),
                    false => message.strata.iter().map(|text| Stratum::parse(text)).collect(),
                },
            }),
        };
        Wave {
            name: message.name.clone(),
            size: self.size(message, path),
            strata,
            budget: self.text(&message.budget, Amount::All, format!("{path}.budget")),
            soak: self.duration(message.soak.as_ref(), Duration::ZERO, format!("{path}.soak")),
            bake: self.duration(message.bake.as_ref(), Duration::ZERO, format!("{path}.bake")),
            min_good: self.text(&message.min_good, Share::percent(50), format!("{path}.min_good")),
            gates: self.gates(&message.gates, path),
        }
    }

    fn size(&mut self, message: &v1::WavePolicy, path: &str) -> Size {
        let what = "write a count as \"10\", a share as \"25%\", or \"rest\"";
        match (message.size.trim(), message.selector.trim()) {
            ("", "") => self.tell(format!("{path}.size"), format!("it is empty; {what}")),
            ("", selector) => match selector.parse() {
                Ok(selector) => return Size::Select(selector),
                Err(error) => self.tell(format!("{path}.selector"), error),
            },
            ("rest", "") => {}
            (share, "") if share.ends_with('%') => {
                return Size::Upto(self.text(share, Share::ALL, format!("{path}.size")));
            }
            (count, "") => match count.parse() {
                Ok(count) => return Size::Count(count),
                Err(_) => self.tell(format!("{path}.size"), format!("{count:?} is no size; {what}")),
            },
            _ => self.tell(format!("{path}.size"), "a size and a selector exclude each other"),
        }
        Size::Rest
    }

    fn evidence(&mut self, message: &v1::Evidence, path: &str) -> Option<Evidence> {
        let field = |name: &str| format!("{path}.evidence.{name}");
        for (text, name) in [
            (&message.acceptable, "acceptable"),
            (&message.unacceptable, "unacceptable"),
        ] {
            if text.is_empty() {
                self.tell(field(name), "it is empty; give a rate of failures as \"1%\"");
                return None;
            }
        }
        let half = Share::percent(50);
        let evidence = Evidence {
            acceptable: self.text(&message.acceptable, Share::percent(1), field("acceptable")),
            unacceptable: self.text(&message.unacceptable, Share::percent(5), field("unacceptable")),
            false_halt: self.text(&message.false_halt, Share::percent(5), field("false_halt")),
            false_promote: self.text(&message.false_promote, Share::percent(5), field("false_promote")),
        };
        if evidence.unacceptable <= evidence.acceptable || evidence.unacceptable == Share::ALL {
            self.tell(
                field("unacceptable"),
                "it is to be higher than acceptable, and below 100%",
            );
        }
        if evidence.false_halt >= half || evidence.false_promote >= half {
            self.tell(
                field("false_halt"),
                "errors are to be below 50%, or the test would say nothing",
            );
        }
        Some(evidence)
    }

    fn caps(&mut self, messages: &[v1::LabelCap], path: &str) -> Vec<Cap> {
        let cap = |(at, cap): (usize, &v1::LabelCap)| {
            let path = format!("{path}.caps[{at}]");
            if cap.concurrency == 0 {
                self.tell(
                    format!("{path}.concurrency"),
                    "it could never admit anything; give at least 1",
                );
            }
            Cap {
                label: self.label(&cap.label, format!("{path}.label")),
                concurrency: cap.concurrency,
            }
        };
        messages.iter().enumerate().map(cap).collect()
    }

    fn availability(&mut self, messages: &[v1::Availability], path: &str) -> Vec<Availability> {
        let limit = |(at, limit): (usize, &v1::Availability)| {
            let path = format!("{path}.availability[{at}]");
            let max: Amount = self.text(
                &limit.max_unavailable,
                Amount::Count(0),
                format!("{path}.max_unavailable"),
            );
            if matches!(max, Amount::Count(0) | Amount::All) {
                self.tell(
                    format!("{path}.max_unavailable"),
                    "give a number from 1, or a share as \"10%\"",
                );
            }
            Availability {
                label: self.label(&limit.label, format!("{path}.label")),
                max_unavailable: max,
            }
        };
        messages.iter().enumerate().map(limit).collect()
    }

    fn ramp(&mut self, message: &v1::Ramp, path: &str) -> Ramp {
        let interval = self.duration(
            message.interval.as_ref(),
            Duration::from_secs(60),
            format!("{path}.ramp.interval"),
        );
        if message.start == 0 {
            self.tell(
                format!("{path}.ramp.start"),
                "it could never admit anything; give at least 1",
            );
        }
        if !(101..=10_000).contains(&message.factor_percent) {
            self.tell(
                format!("{path}.ramp.factor_percent"),
                "it is to be 101 to 10,000; 200 doubles",
            );
        }
        if interval < Duration::from_secs(1) {
            self.tell(format!("{path}.ramp.interval"), "it is to be at least a second");
        }
        Ramp {
            start: message.start,
            factor_percent: message.factor_percent,
            interval,
        }
    }

    fn windows(&mut self, messages: &[v1::Window], path: &str) -> Vec<Window> {
        let window = |(at, message): (usize, &v1::Window)| {
            let path = format!("{path}.windows[{at}]");
            let zone = match message.zone.as_str() {
                "" => Zone::default(),
                name => Zone::new(name).unwrap_or_else(|error| {
                    self.tell(format!("{path}.zone"), error);
                    Zone::default()
                }),
            };
            let window = Window {
                cron: message.cron.clone(),
                duration: self.duration(
                    message.duration.as_ref(),
                    Duration::ZERO,
                    format!("{path}.duration"),
                ),
                zone,
            };
            if let Err(error) = window.check() {
                self.tell(path, error);
            }
            window
        };
        messages.iter().enumerate().map(window).collect()
    }

    fn freezes(&mut self, messages: &[v1::FreezePeriod], path: &str) -> Vec<Freeze> {
        let millis = |time: Option<&prost_types::Timestamp>| {
            let time = time?;
            time.seconds
                .checked_mul(1000)?
                .checked_add(i64::from(time.nanos) / 1_000_000)
        };
        let freeze = |(at, message): (usize, &v1::FreezePeriod)| {
            let (from, to) = (millis(message.from.as_ref()), millis(message.to.as_ref()));
            if from.zip(to).is_none_or(|(from, to)| from >= to) {
                self.tell(format!("{path}.freezes[{at}]"), "it needs a from and a later to");
            }
            Freeze {
                from: from.unwrap_or_default(),
                to: to.unwrap_or_default(),
                reason: message.reason.clone(),
            }
        };
        messages.iter().enumerate().map(freeze).collect()
    }

    fn approval(&mut self, needed: u32, from: &[String], path: &str, field: &str) -> Approval {
        let mut from = from.to_vec();
        from.sort();
        from.dedup();
        let needed = match (needed, from.is_empty()) {
            (0, false) => 1,
            (needed, _) => needed,
        };
        if !from.is_empty() && from.len() < needed as usize {
            self.tell(
                format!("{path}.{field}"),
                format!("{} people are named, and {needed} are needed", from.len()),
            );
        }
        Approval { needed, from }
    }
}

#[cfg(test)]
mod tests;

//! What has to be asked of a device for an audit (L8): one print per menu, with every property that any check names, and
//! with a query where all checks of the menu want the same items.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_model::check::Source as FactSource;
use muster_model::{Command, Plan, Step, Wait};
use routeros_wire::Expression;

use crate::file::{Audit, Check, Fleet, Source};
use crate::rule::Rule;

/// The questions of an audit.
#[derive(Debug)]
pub struct Reads {
    /// One print after the other, so that a heavy table is the only one under way; a device that refuses one is asked the next.
    /// Before them a look at how busy the device is.
    pub plan: Plan,
    /// For each check, in the order of the file.
    pub checks: Vec<CheckReads>,
    /// The step that tells of `/system/resource`, and the one that tells the identity.
    pub resource: Option<usize>,
    /// See `resource`.
    pub identity: Option<usize>,
}

/// How long a router that is busy is waited for.
const BUSY: Duration = Duration::from_secs(30);

/// Where a check finds what it needs.
#[derive(Debug)]
pub struct CheckReads {
    /// The step of `rows`.
    pub rows: usize,
    /// The steps of `also`, in the order of its names.
    pub also: Vec<usize>,
    /// Whether items still have to be looked at one by one: other checks of the menu want others.
    pub filtered: bool,
    /// Every step that its verdict depends on.
    pub steps: Vec<usize>,
}

/// A menu, and who wants what of it.
#[derive(Default)]
struct Menu {
    filters: Vec<Option<Expression>>,
    /// `None` for all.
    names: Option<BTreeSet<String>>,
    any: bool,
}

/// Since RouterOS 7.19 it also lists who is connected, as dynamic items (facts §1.5). Those are no services.
pub(crate) const SERVICES: &str = "/ip/service";

impl Menu {
    fn want(&mut self, names: Option<BTreeSet<String>>, filter: Option<&Expression>) {
        self.filters.push(filter.cloned());
        self.names = match (self.any, self.names.take(), names) {
            (false, _, names) => names,
            (true, Some(mut all), Some(names)) => {
                all.extend(names);
                Some(all)
            }
            (true, ..) => None,
        };
        self.any = true;
        // What a query does on the device is done here when checks differ.
        if let (Some(all), Some(filter)) = (&mut self.names, filter) {
            all.extend(named(filter));
        }
    }

    /// The query of all, if they want the same items.
    fn common(&self) -> Option<&Expression> {
        let first = self.filters.first()?.as_ref()?;
        self.filters
            .iter()
            .all(|filter| filter.as_ref() == Some(first))
            .then_some(first)
    }

    fn command(&self, menu: &str) -> Option<Command> {
        let mut words = vec![format!("{menu}/print")];
        if let Some(names) = &self.names {
            let names = names.iter().map(String::as_str).collect::<Vec<_>>();
            words.push(format!("=.proplist={}", names.join(",")));
        }
        let query = self.common().map(Expression::words).unwrap_or_default();
        for word in query {
            words.push(String::from_utf8(word).ok()?);
        }
        Command::parse(&words).and_then(Command::tolerant).ok()
    }
}

/// The properties that a filter looks at.
pub(crate) fn named(filter: &Expression) -> impl Iterator<Item = String> {
    let name = |word: Vec<u8>| {
        let text = String::from_utf8(word).ok()?;
        let test = text.strip_prefix('?')?;
        let test = test.trim_start_matches(['<', '>', '=', '-']);
        let name = test.split('=').next()?;
        (!name.starts_with('#') && !name.is_empty()).then(|| name.to_owned())
    };
    filter.words().into_iter().filter_map(name)
}

impl Reads {
    /// How many prints there are.
    pub fn prints(&self) -> usize {
        let is_print = |step: &&Step| matches!(step, Step::Command(_));
        self.plan.steps.iter().filter(is_print).count()
    }

    /// Plans the questions.
    pub fn of(audit: &Audit) -> Self {
        let mut menus = BTreeMap::<&str, Menu>::new();
        for check in &audit.checks {
            for (list, source) in sources(check) {
                let names = properties(check, list, source);
                menus
                    .entry(&source.menu)
                    .or_default()
                    .want(names, source.filter.as_ref());
            }
        }
        if let Some(services) = menus.get_mut(SERVICES)
            && let Some(names) = &mut services.names
        {
            names.insert("dynamic".into());
        }
        let (mut steps, mut at) = (Vec::new(), BTreeMap::new());
        if audit.max_cpu < 100 {
            let idle = Wait::idle(audit.max_cpu, Some(BUSY), None);
            steps.extend(idle.ok().map(Step::Wait));
        }
        for (menu, wanted) in &menus {
            if let Some(command) = wanted.command(menu) {
                at.insert(*menu, steps.len());
                steps.push(Step::Command(command));
            }
        }
        let facts = audit
            .checks
            .iter()
            .flat_map(rules)
            .flat_map(|rule| &rule.names().facts);
        let facts = facts.copied().collect::<BTreeSet<_>>();
        let mut ask = |menu: &str, names: Vec<&str>| {
            let words = [format!("{menu}/print"), format!("=.proplist={}", names.join(","))];
            let command = Command::parse(words).and_then(Command::tolerant).ok()?;
            steps.push(Step::Command(command));
            Some(steps.len() - 1)
        };
        let resource = facts.iter().filter_map(|fact| property(fact)).collect::<Vec<_>>();
        let resource = (!resource.is_empty())
            .then(|| ask("/system/resource", resource))
            .flatten();
        let identity = facts
            .contains("identity")
            .then(|| ask("/system/identity", vec!["name"]))
            .flatten();
        let of = |check: &Check| {
            let step = |menu: &str| at.get(menu).copied().unwrap_or(usize::MAX);
            let rows = step(&check.read.menu);
            let also = check
                .also
                .values()
                .map(|source| step(&source.menu))
                .collect::<Vec<_>>();
            let common = menus.get(check.read.menu.as_str()).and_then(Menu::common);
            let told = |rule: &Rule| rule.names().facts.iter().copied().collect::<Vec<_>>();
            let facts = rules(check).flat_map(told).collect::<BTreeSet<_>>();
            let mut steps = vec![rows];
            steps.extend(&also);
            steps.extend(resource.filter(|_| facts.iter().any(|fact| *fact != "identity")));
            steps.extend(identity.filter(|_| facts.contains("identity")));
            CheckReads {
                rows,
                also,
                filtered: check.read.filter.is_some() && common.is_none(),
                steps,
            }
        };
        Self {
            checks: audit.checks.iter().map(of).collect(),
            plan: Plan::new(steps),
            resource,
            identity,
        }
    }
}

/// The property of `/system/resource` that a fact is read from.
pub(crate) fn property(fact: &str) -> Option<&'static str> {
    Some(match fact {
        "architecture" => "architecture-name",
        "board" => "board-name",
        "cpu_count" => "cpu-count",
        "cpu_load" => "cpu-load",
        "free_disk" => "free-hdd-space",
        "free_memory" => "free-memory",
        "total_disk" => "total-hdd-space",
        "total_memory" => "total-memory",
        "uptime" => "uptime",
        "version" => "version",
        _ => return None,
    })
}

/// Where a fact comes from is known by [`muster_model::check::FACTS`]; an audit reads two of its sources.
pub(crate) fn is_read(source: FactSource) -> bool {
    matches!(source, FactSource::Resource | FactSource::Identity)
}

pub(crate) fn rules(check: &Check) -> impl Iterator<Item = &Rule> {
    let of_fleet = match &check.fleet {
        None | Some(Fleet::Baseline) => Vec::new(),
        Some(Fleet::Peers { kind }) => vec![kind],
        Some(Fleet::Across { key, add }) => std::iter::once(key).chain(add.values()).collect(),
    };
    std::iter::once(&check.expect)
        .chain(&check.applies)
        .chain(of_fleet)
}

/// Each list of a check: `rows` has an empty name.
fn sources(check: &Check) -> impl Iterator<Item = (&str, &Source)> {
    let also = check.also.iter().map(|(name, source)| (name.as_str(), source));
    std::iter::once(("", &check.read)).chain(also)
}

/// The properties of a list that a check needs; `None` for all.
fn properties(check: &Check, list: &str, source: &Source) -> Option<BTreeSet<String>> {
    if rules(check).any(|rule| rule.names().whole.contains(list)) {
        return None;
    }
    let mut names = source.proplist.clone();
    for rule in rules(check) {
        names.extend(rule.names().properties.get(list).into_iter().flatten().cloned());
    }
    if list.is_empty() {
        names.extend(check.evidence.iter().cloned());
    }
    match &check.fleet {
        // What is compared is everything, unless it is named.
        Some(Fleet::Peers { .. } | Fleet::Baseline) if list.is_empty() && source.proplist.is_empty() => {
            return None;
        }
        Some(Fleet::Peers { .. } | Fleet::Baseline) if list.is_empty() => {
            names.extend(["dynamic".to_owned()]);
        }
        // What rows have of ours is not the device's.
        Some(Fleet::Across { add, .. }) if list.is_empty() => {
            names
                .retain(|name| name != "device" && !add.keys().any(|added| added.replace('_', "-") == *name));
        }
        _ => {}
    }
    // An empty list of properties would be all of them.
    if names.is_empty() {
        names.insert(".id".into());
    }
    Some(names)
}

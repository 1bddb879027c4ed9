//! Finds circles of imports: the strongly connected components of a crate's modules.

use std::collections::BTreeSet;

use crate::imports::ModuleImport;

/// Finds the sets of two or more modules that reach each other by imports, the largest first.
#[must_use]
pub fn find_circles(modules: usize, imports: &[ModuleImport]) -> Vec<Vec<usize>> {
    let mut targets = vec![BTreeSet::new(); modules];
    let mut sources = vec![BTreeSet::new(); modules];
    for import in imports {
        targets[import.from].insert(import.to);
        sources[import.to].insert(import.from);
    }
    // Kosaraju: in the reverse order of their ends, walks against the imports stay in one circle.
    let mut ends = vec![];
    let mut seen = vec![false; modules];
    for start in 0..modules {
        walk_from(start, &targets, &mut seen, &mut ends);
    }
    let mut seen = vec![false; modules];
    let mut circles = vec![];
    for start in ends.into_iter().rev() {
        let mut circle = vec![];
        walk_from(start, &sources, &mut seen, &mut circle);
        if circle.len() > 1 {
            circle.sort_unstable();
            circles.push(circle);
        }
    }
    circles.sort_by_key(|circle| (usize::MAX - circle.len(), circle[0]));
    circles
}

/// Appends all nodes that are first reached from `start`, each after those that it leads to.
fn walk_from(start: usize, edges: &[BTreeSet<usize>], seen: &mut [bool], ended: &mut Vec<usize>) {
    if std::mem::replace(&mut seen[start], true) {
        return;
    }
    for next in &edges[start] {
        walk_from(*next, edges, seen, ended);
    }
    ended.push(start);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(pairs: &[(usize, usize)]) -> Vec<ModuleImport> {
        let import = |&(from, to): &(usize, usize)| ModuleImport {
            from,
            to,
            line: 1,
            text: String::new(),
        };
        pairs.iter().map(import).collect()
    }

    #[test]
    fn modules_in_a_row_make_no_circle() {
        assert!(find_circles(4, &imports(&[(0, 1), (1, 2), (0, 2), (2, 3)])).is_empty());
    }

    #[test]
    fn two_circles_that_only_one_import_joins_stay_two_and_the_larger_comes_first() {
        let pairs = [(0, 1), (1, 0), (1, 2), (2, 3), (3, 4), (4, 2), (4, 5)];
        assert_eq!(
            find_circles(6, &imports(&pairs)),
            [vec![2, 3, 4], vec![0, 1]]
        );
    }
}

//! Values by name, where each name is a literal in the code.

use std::collections::BTreeMap;

/// Finds values by where the literal of the name stands: numbers are compared, not texts. A name may stand at several
/// places; its value is one.
pub(crate) struct Named<T> {
    places: Vec<((usize, usize), usize)>,
    values: Vec<(&'static str, T)>,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self { places: Vec::new(), values: Vec::new() }
    }
}

impl<T> Named<T> {
    /// The value of a name, if it has one.
    pub(crate) fn find(&mut self, name: &'static str) -> Option<&mut T> {
        let index = match self.place(name) {
            Ok(at) => self.places[at].1,
            Err(at) => {
                let index = self.values.iter().position(|(known, _)| *known == name)?;
                self.places.insert(at, (key(name), index));
                index
            }
        };
        Some(&mut self.values[index].1)
    }

    /// Gives a name that has none its value.
    pub(crate) fn add(&mut self, name: &'static str, value: T) -> &mut T {
        if let Err(at) = self.place(name) {
            self.places.insert(at, (key(name), self.values.len()));
        }
        self.values.push((name, value));
        &mut self.values.last_mut().expect("just added").1
    }

    fn place(&self, name: &'static str) -> Result<usize, usize> {
        self.places.binary_search_by_key(&key(name), |(place, _)| *place)
    }

    /// What `told` makes of the values, by name.
    pub(crate) fn collect<U>(&self, told: impl Fn(&T) -> Option<U>) -> BTreeMap<&'static str, U> {
        self.values.iter().filter_map(|(name, value)| Some((*name, told(value)?))).collect()
    }
}

impl Named<u64> {
    /// Counts one more.
    pub(crate) fn count(&mut self, name: &'static str) {
        match self.find(name) {
            Some(times) => *times += 1,
            None => {
                self.add(name, 1);
            }
        }
    }
}

fn key(name: &'static str) -> (usize, usize) {
    (name.as_ptr().addr(), name.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_stands_at_two_places_has_one_value() {
        let elsewhere: &'static str = String::from("b").leak();
        let mut named = Named::default();
        for name in ["b", "a", elsewhere, "b"] {
            named.count(name);
        }
        assert_eq!(named.collect(|times| Some(*times)), [("a", 1), ("b", 3)].into());
        assert_eq!(named.places.len(), 3);
        assert_eq!(named.find("c"), None);
    }
}

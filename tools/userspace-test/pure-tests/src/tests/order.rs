// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `Order` against a list of what is under way.

use proptest::prelude::*;

use super::config;
use crate::pure::order::{Order, Ticket};

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_first_is_the_oldest_that_has_not_ended(
        steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..300),
    ) {
        const N: usize = 7;
        let mut order = Order::<N>::new();
        let mut model: Vec<Ticket> = Vec::new();
        for (begin, which) in steps {
            if begin {
                let ticket = order.begin();
                prop_assert_eq!(ticket.is_some(), model.len() < N);
                model.extend(ticket);
            } else if !model.is_empty() {
                let ended = model.remove(which.index(model.len()));
                order.end(ended);
                // The second time it is nobody's, also when its slot is another's.
                order.end(ended);
            }
            for (place, ticket) in model.iter().enumerate() {
                prop_assert_eq!(order.is_first(*ticket), place == 0);
            }
        }
    }
}

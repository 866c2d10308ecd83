//! Customers and passers-by: complaints about overflowing and unserved containers, and the tickets that follow.
//!
//! The flow is small on purpose: a few tickets a day in the default city.

use crate::calendar::{DAY_MS, HOUR_MS, MINUTE_MS};
use crate::city::{Action, City};
use crate::config::CityConfig;
use crate::events_office::{Contact, TicketState, consent_event, csat_event, customer_event, service_ticket};
use crate::layout::{District, Layout};
use crate::loyalty::{Loyalty, Trouble};
use crate::rng::Rng;

/// Complaints that an overflowing container draws in an hour.
const COMPLAINTS_PER_OVERFLOW_H: f64 = 0.02;
/// Share of the containers left unserved that somebody complains about.
const COMPLAINT_SHARE_UNSERVED: f64 = 0.12;

/// Somebody with a contract for a site.
#[derive(Debug, Clone)]
pub(crate) struct Customer {
    pub id: String,
    pub name: String,
    pub segment: &'static str,
    pub site: usize,
    pub contract_id: String,
    pub tariff_id: String,
    pub monthly_fee_minor: i64,
    /// The fee and the end of the term when the city began, or when they signed.
    pub first_terms: (i64, i64),
    pub since_ms: i64,
    pub consents: bool,
    /// Day of the month on which the invoice is made, 1 to 28.
    pub billing_day: u32,
    /// Median days from invoice to payment.
    pub pays_after_days: f64,
    pub active: bool,
    /// When the contract ends, once notice was given, UTC ms.
    pub ends_ms: Option<i64>,
    /// Whether they leave of their own will, and why.
    pub leaving: Option<(bool, &'static str)>,
    pub loyalty: Loyalty,
    pub invoices: u32,
}

/// A ticket in work.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    id: String,
    customer: Option<usize>,
    container: usize,
    category: &'static str,
    summary: &'static str,
    opened_ms: i64,
    closed: bool,
}

/// An invoice that waits for its payment.
#[derive(Debug, Clone)]
pub(crate) struct Invoice {
    pub id: String,
    pub customer: usize,
    pub amount_minor: i64,
    pub period_from_ms: i64,
    pub period_to_ms: i64,
    pub due_ms: i64,
    pub reminded: bool,
}

/// The office: customers, tickets, invoices.
#[derive(Debug, Clone)]
pub(crate) struct Office {
    pub customers: Vec<Customer>,
    pub tickets: Vec<Ticket>,
    pub invoices: Vec<Invoice>,
    pub rng: Rng,
    /// Sites whose customer has left, and when somebody else signs, UTC ms.
    pub vacant: Vec<(usize, i64)>,
    customer_by_site: Vec<Option<usize>>,
}

impl Office {
    pub(crate) fn new(config: &CityConfig, layout: &Layout) -> Office {
        let mut rng = Rng::derive(config.seed, "office", 0);
        let mut customer_by_site = vec![None; layout.sites.len()];
        let wanted = (layout.sites.len() / config.sites_per_customer).max(1);
        let mut customers = Vec::with_capacity(wanted);
        for index in 0..wanted {
            let site = index * layout.sites.len() / wanted;
            let since_ms = config.start_ms - rng.int(60, 2_500) * DAY_MS;
            customer_by_site[site] = Some(index);
            customers.push(Customer::new(index, site, since_ms, config.start_ms, layout, &mut rng));
        }
        Office { customers, tickets: Vec::new(), invoices: Vec::new(), rng, vacant: Vec::new(), customer_by_site }
    }

    pub(crate) fn customer_of_site(&self, site: usize) -> Option<usize> {
        self.customer_by_site[site]
    }

    /// Gives a vacant site to a new customer.
    pub(crate) fn sign(&mut self, site: usize, now_ms: i64, layout: &Layout) -> usize {
        let index = self.customers.len();
        let customer = Customer::new(index, site, now_ms, now_ms, layout, &mut self.rng);
        self.customers.push(customer);
        self.customer_by_site[site] = Some(index);
        index
    }
}

impl Customer {
    fn new(index: usize, site: usize, since_ms: i64, now_ms: i64, layout: &Layout, rng: &mut Rng) -> Customer {
        let segment = match layout.zones[layout.sites[site].zone].district {
            District::Residential => "association",
            District::Commercial | District::Nightlife => "business",
            District::Park => "public",
        };
        let trade = ["Bakery", "Hotel", "Workshop", "Clinic", "Studio", "Residents", "Kitchen", "Books"][rng.index(8)];
        let monthly_fee_minor = (rng.lognormal(18_000.0, 0.4) / 100.0).round() as i64 * 100;
        let loyalty = Loyalty::new(since_ms, now_ms, rng);
        Customer {
            id: format!("cust-{:04}", index + 1),
            name: format!("{trade} {}", layout.sites[site].name),
            segment,
            site,
            contract_id: format!("contract-{:04}", index + 1),
            tariff_id: format!("tariff-{segment}"),
            monthly_fee_minor,
            first_terms: (monthly_fee_minor, loyalty.term_ends_ms),
            since_ms,
            consents: rng.chance(0.7),
            billing_day: rng.int(1, 29) as u32,
            pays_after_days: rng.lognormal(11.0, 0.4),
            active: true,
            ends_ms: None,
            leaving: None,
            loyalty,
            invoices: 0,
        }
    }
}

impl City {
    /// A container overflows and `for_ms` have gone by since anybody last thought of it.
    pub(crate) fn overflow_passed_by(&mut self, container: usize, for_ms: i64) {
        let hours = for_ms as f64 / HOUR_MS as f64;
        let likely = 1.0 - (-COMPLAINTS_PER_OVERFLOW_H * hours).exp();
        if self.contents[container].open_ticket.is_none() && self.office.rng.chance(likely) {
            self.open_ticket(container, "extra_collection", "The container is overflowing and bags lie beside it.");
        }
    }

    /// A crew came, or should have come, and did not empty the container.
    pub(crate) fn not_served(&mut self, container: usize) {
        let site = self.layout.containers[container].site;
        if let Some(customer) = self.office.customer_of_site(site) {
            let now_ms = self.now_ms;
            self.office.customers[customer].loyalty.annoy(Trouble::Missed, now_ms);
        }
        if self.contents[container].open_ticket.is_none() && self.office.rng.chance(COMPLAINT_SHARE_UNSERVED) {
            self.open_ticket(container, "missed_collection", "The container was not emptied on its day.");
        }
    }

    /// Somebody sees a fire and calls.
    pub(crate) fn report_fire(&mut self, container: usize) {
        if self.contents[container].open_ticket.is_none() {
            self.open_ticket(container, "other", "Smoke is coming out of the container.");
        }
    }

    fn open_ticket(&mut self, container: usize, category: &'static str, summary: &'static str) {
        let now_ms = self.now_ms;
        let site = self.layout.containers[container].site;
        let known = self.office.customer_of_site(site).filter(|customer| self.office.customers[*customer].active);
        let id = self.next_id("ticket");
        if let Some(customer) = known {
            self.office.customers[customer].loyalty.annoy(Trouble::Ticket, now_ms);
            let channel = ["phone", "email", "app", "web"][self.office.rng.index(4)];
            let sentiment = -self.office.rng.between(0.2, 1.0);
            let contact = Contact {
                customer_id: &self.office.customers[customer].id,
                event: "complaint",
                channel,
                intent: category,
                text: Some(summary),
                sentiment,
                site_id: &self.layout.sites[site].id,
            };
            let draft = customer_event(&contact);
            self.emit_now(draft, "crm");
        }
        let ticket = self.office.tickets.len();
        self.office.tickets.push(Ticket { id, customer: known, container, category, summary, opened_ms: now_ms, closed: false });
        self.contents[container].open_ticket = Some(ticket);
        self.tell_ticket(ticket, "opened");
        let moves_ms = self.office.rng.int(20 * MINUTE_MS, 4 * HOUR_MS);
        self.agenda.push(now_ms + moves_ms, Action::TicketMoves(ticket));
        self.agenda.push(now_ms + 3 * DAY_MS, Action::TicketEnds(ticket));
    }

    /// The container of a ticket was emptied: the office hears of it within the hour.
    pub(crate) fn emptied_after_ticket(&mut self, container: usize) {
        if let Some(ticket) = self.contents[container].open_ticket {
            let heard_ms = self.office.rng.int(5 * MINUTE_MS, HOUR_MS);
            self.agenda.push(self.now_ms + heard_ms, Action::TicketEnds(ticket));
        }
    }

    pub(crate) fn on_ticket_moves(&mut self, ticket: usize) {
        if !self.office.tickets[ticket].closed {
            self.tell_ticket(ticket, "planned");
        }
    }

    pub(crate) fn on_ticket_ends(&mut self, ticket: usize) {
        if std::mem::replace(&mut self.office.tickets[ticket].closed, true) {
            return;
        }
        let container = self.office.tickets[ticket].container;
        self.contents[container].open_ticket = None;
        self.tell_ticket(ticket, "done");
        let asked = self.office.tickets[ticket].customer.filter(|_| self.office.rng.chance(0.3));
        if let Some(customer) = asked {
            let quick = self.now_ms - self.office.tickets[ticket].opened_ms < DAY_MS;
            let score = if quick { self.office.rng.int(3, 6) } else { self.office.rng.int(1, 5) };
            let draft = csat_event(&self.office.customers[customer].id, &self.office.tickets[ticket].id, score);
            self.emit_now(draft, "crm");
        }
    }

    fn tell_ticket(&mut self, ticket: usize, state: &'static str) {
        let ticket = &self.office.tickets[ticket];
        let container = &self.layout.containers[ticket.container];
        let site = &self.layout.sites[container.site];
        let draft = service_ticket(&TicketState {
            ticket_id: &ticket.id,
            customer_id: ticket.customer.map(|customer| self.office.customers[customer].id.as_str()),
            state,
            category: ticket.category,
            priority: if ticket.category == "other" { "urgent" } else { "normal" },
            site_id: &site.id,
            container_id: &container.id,
            waste_stream: container.stream.code(),
            opened_at_ms: ticket.opened_ms,
            due_at_ms: ticket.opened_ms + 2 * DAY_MS,
            closed_at_ms: (state == "done").then_some(self.now_ms),
            summary: ticket.summary,
            at: self.layout.degrees(site.at),
        });
        self.emit_now(draft, "crm");
    }

    /// Once a day customers look at the portal, change their minds about consents, and some leave.
    pub(crate) fn customers_consider(&mut self) {
        for index in 0..self.office.customers.len() {
            if !self.office.customers[index].active {
                continue;
            }
            let (looks, changes) = (self.office.rng.chance(0.03), self.office.rng.chance(0.001));
            if looks {
                let customer = &self.office.customers[index];
                let contact = Contact {
                    customer_id: &customer.id,
                    event: "portal_visit",
                    channel: "web",
                    intent: "check_schedule",
                    text: None,
                    sentiment: 0.0,
                    site_id: &self.layout.sites[customer.site].id,
                };
                let draft = customer_event(&contact);
                self.emit_now(draft, "crm");
            }
            if changes {
                let customer = &mut self.office.customers[index];
                customer.consents = !customer.consents;
                let draft = consent_event(&customer.id, "model_training", customer.consents);
                self.emit_now(draft, "crm");
            }
            self.renew_terms(index);
            self.consider_leaving(index);
        }
        self.fill_vacancies();
    }
}

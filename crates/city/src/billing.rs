//! Contracts and money: a monthly invoice to each customer, payments early, late or failed, and customers who leave.

use crate::calendar::{DAY_MS, HOUR_MS, day_of_month};
use crate::city::{Action, City};
use crate::customers::Invoice;
use crate::events_office::{InvoiceChange, Payment, contract_event, invoice_event, payment_event};
use crate::loyalty::{PRICES_TOLD_DAYS, TERM_DAYS, Trouble};
use crate::references::customer_reference;

/// Days between notice and end.
pub(crate) const NOTICE_DAYS: i64 = 30;
/// Days until an invoice is due.
const DUE_DAYS: i64 = 14;

impl City {
    /// Sets the first invoice of every customer, at 10 h on its day.
    pub(crate) fn plan_billing(&mut self) {
        for customer in 0..self.office.customers.len() {
            self.plan_bill(customer, self.config.start_ms);
        }
    }

    pub(crate) fn plan_bill(&mut self, customer: usize, after_ms: i64) {
        let billing_day = self.office.customers[customer].billing_day;
        let clock = &self.fill.clock;
        let first = clock.day(after_ms);
        let next = (first..first + 63).find(|day| day_of_month(*day) == billing_day && clock.utc_ms(*day, 10 * HOUR_MS) > after_ms);
        if let Some(day) = next {
            // Spread over minutes: the office sends one after the other.
            let at_ms = clock.utc_ms(day, 10 * HOUR_MS) + customer as i64 * 700;
            self.agenda.push(at_ms, Action::Bill(customer));
        }
    }

    pub(crate) fn on_bill(&mut self, index: usize) {
        let now_ms = self.now_ms;
        let customer = &mut self.office.customers[index];
        if !customer.active {
            return;
        }
        customer.invoices += 1;
        let invoice = Invoice {
            id: format!("inv-{}-{:03}", customer.id, customer.invoices),
            customer: index,
            amount_minor: customer.monthly_fee_minor * 11 / 10,
            period_from_ms: now_ms - 30 * DAY_MS,
            period_to_ms: now_ms,
            due_ms: now_ms + DUE_DAYS * DAY_MS,
            reminded: false,
        };
        let pays_after_days = customer.pays_after_days;
        self.office.invoices.push(invoice);
        let number = self.office.invoices.len() - 1;
        self.tell_invoice(number, "issued", None);
        let wait_days = self.office.rng.lognormal(pays_after_days, 0.3).clamp(0.5, 75.0);
        self.agenda.push(now_ms + (wait_days * DAY_MS as f64) as i64, Action::Pay(number));
        self.plan_bill(index, now_ms);
    }

    pub(crate) fn on_pay(&mut self, number: usize) {
        let now_ms = self.now_ms;
        let late_days = (now_ms - self.office.invoices[number].due_ms) as f64 / DAY_MS as f64;
        if late_days > 10.0 && !self.office.invoices[number].reminded {
            self.office.invoices[number].reminded = true;
            self.tell_invoice(number, "reminded", Some(1));
            self.agenda.push(now_ms + 3 * DAY_MS, Action::Pay(number));
            return;
        }
        let failed = self.office.rng.chance(0.015);
        if failed {
            let customer = self.office.invoices[number].customer;
            self.office.customers[customer].loyalty.annoy(Trouble::PaymentFailed, now_ms);
        }
        let payment_id = self.next_id("pay");
        let invoice = &self.office.invoices[number];
        let draft = payment_event(&Payment {
            customer_id: &self.office.customers[invoice.customer].id,
            payment_id: &payment_id,
            invoice_id: &invoice.id,
            event: if failed { "failed" } else { "received" },
            method: if invoice.customer.is_multiple_of(3) { "transfer" } else { "direct_debit" },
            amount_minor: invoice.amount_minor,
            currency: &self.config.currency,
            days_late: late_days,
        });
        self.emit_now(draft, "billing");
        if failed {
            self.agenda.push(now_ms + 5 * DAY_MS, Action::Pay(number));
        }
    }

    fn tell_invoice(&mut self, number: usize, event: &'static str, reminder_level: Option<i64>) {
        let invoice = &self.office.invoices[number];
        let customer = &self.office.customers[invoice.customer];
        let draft = invoice_event(&InvoiceChange {
            customer_id: &customer.id,
            invoice_id: &invoice.id,
            contract_id: &customer.contract_id,
            event,
            amount_minor: invoice.amount_minor,
            currency: &self.config.currency,
            period_from_ms: invoice.period_from_ms,
            period_to_ms: invoice.period_to_ms,
            due_at_ms: invoice.due_ms,
            reminder_level,
        });
        self.emit_now(draft, "billing");
    }

    /// Tells the prices of the next term in time, and renews the term when it ends.
    pub(crate) fn renew_terms(&mut self, index: usize) {
        let now_ms = self.now_ms;
        let customer = &self.office.customers[index];
        if customer.ends_ms.is_some() {
            return;
        }
        let left_ms = customer.loyalty.term_ends_ms - now_ms;
        if left_ms < PRICES_TOLD_DAYS * DAY_MS && !customer.loyalty.prices_told {
            let rise = if self.office.rng.chance(0.75) { self.office.rng.between(0.02, 0.15) } else { 0.0 };
            let customer = &mut self.office.customers[index];
            customer.loyalty.prices_told = true;
            if rise > 0.0 {
                customer.monthly_fee_minor = (customer.monthly_fee_minor as f64 * (1.0 + rise)).round() as i64;
                customer.loyalty.annoy(Trouble::PriceRise(rise), now_ms);
                self.tell_contract(index, "price_changed");
            }
        }
        if left_ms <= 0 {
            let customer = &mut self.office.customers[index];
            customer.loyalty.term_ends_ms += TERM_DAYS * DAY_MS;
            customer.loyalty.prices_told = false;
            self.tell_contract(index, "renewed");
        }
    }

    /// Gives notice, or ends the contract when the notice has run out.
    pub(crate) fn consider_leaving(&mut self, index: usize) {
        let now_ms = self.now_ms;
        let customer = &self.office.customers[index];
        if let Some(ends_ms) = customer.ends_ms {
            if ends_ms <= now_ms {
                self.office.customers[index].active = false;
                self.tell_contract(index, "ended");
                let customer = &self.office.customers[index];
                let site = customer.site;
                let zone_id = &self.layout.zones[self.layout.sites[site].zone].id;
                let draft = customer_reference(customer, zone_id, ends_ms, Some(ends_ms));
                self.emit_now(draft, "crm");
                let free_days = self.office.rng.int(5, 40);
                self.office.vacant.push((site, now_ms + free_days * DAY_MS));
            }
            return;
        }
        let (segment, since_ms) = (customer.segment, customer.since_ms);
        let leaving = self.office.customers[index].loyalty.leaves(segment, since_ms, now_ms, &mut self.office.rng);
        if leaving.is_some() {
            let customer = &mut self.office.customers[index];
            customer.leaving = leaving;
            customer.ends_ms = Some(now_ms + NOTICE_DAYS * DAY_MS);
            self.tell_contract(index, "notice_given");
        }
    }

    /// New customers sign for sites that have become free.
    pub(crate) fn fill_vacancies(&mut self) {
        let now_ms = self.now_ms;
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.office.vacant).into_iter().partition(|(_, at_ms)| *at_ms <= now_ms);
        self.office.vacant = later;
        for (site, _) in due {
            let index = self.office.sign(site, now_ms, &self.layout);
            let zone_id = self.layout.zones[self.layout.sites[site].zone].id.clone();
            let draft = customer_reference(&self.office.customers[index], &zone_id, now_ms, None);
            self.emit_now(draft, "crm");
            for container in self.layout.sites[site].containers.clone() {
                let draft = self.container_reference(container, Some(index), now_ms);
                self.emit_now(draft, "asset-register");
            }
            self.tell_contract(index, "signed");
            self.plan_bill(index, now_ms);
        }
    }

    fn tell_contract(&mut self, index: usize, event: &'static str) {
        let customer = &self.office.customers[index];
        let (voluntary, reason) = (customer.leaving.map(|(voluntary, _)| voluntary), customer.leaving.map(|(_, reason)| reason));
        let ends_ms = customer.ends_ms.unwrap_or(customer.loyalty.term_ends_ms);
        let draft = contract_event(&self.contract_change(customer, event, voluntary, reason, Some(ends_ms)));
        self.emit_now(draft, "crm");
    }
}

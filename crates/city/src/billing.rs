//! Contracts and money: a monthly invoice to each customer, payments early, late or failed, and customers who leave.

use crate::calendar::{DAY_MS, HOUR_MS, day_of_month};
use crate::city::{Action, City};
use crate::customers::Invoice;
use crate::events_office::{InvoiceChange, Payment, contract_event, invoice_event, payment_event};
use crate::references::customer_reference;

/// Hazard of a voluntary end a day, for a customer without grievances.
const LEAVES_PER_DAY: f64 = 0.000_25;
/// What each grievance adds to it, as a multiple.
const GRIEVANCE_WEIGHT: f64 = 0.6;
/// Days between notice and end.
const NOTICE_DAYS: i64 = 30;
/// Days until an invoice is due.
const DUE_DAYS: i64 = 14;

impl City {
    /// Sets the first invoice of every customer, at 10 h on its day.
    pub(crate) fn plan_billing(&mut self) {
        for customer in 0..self.office.customers.len() {
            self.plan_bill(customer, self.config.start_ms);
        }
    }

    fn plan_bill(&mut self, customer: usize, after_ms: i64) {
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

    /// Gives notice with a hazard that grows with grievances; ends the contract when the notice has run out.
    pub(crate) fn consider_leaving(&mut self, index: usize) {
        let now_ms = self.now_ms;
        let customer = &self.office.customers[index];
        if let Some(ends_ms) = customer.ends_ms {
            if ends_ms <= now_ms {
                self.office.customers[index].active = false;
                self.tell_contract(index, "ended", ends_ms);
                let customer = &self.office.customers[index];
                let zone_id = &self.layout.zones[self.layout.sites[customer.site].zone].id;
                let draft = customer_reference(customer, zone_id, ends_ms, Some(ends_ms));
                self.emit_now(draft, "crm");
            }
            return;
        }
        let hazard = LEAVES_PER_DAY * (1.0 + GRIEVANCE_WEIGHT * f64::from(customer.grievances));
        if self.office.rng.chance(hazard) {
            let ends_ms = now_ms + NOTICE_DAYS * DAY_MS;
            self.office.customers[index].ends_ms = Some(ends_ms);
            self.tell_contract(index, "notice_given", ends_ms);
        }
    }

    fn tell_contract(&mut self, index: usize, event: &'static str, ends_ms: i64) {
        let customer = &self.office.customers[index];
        let (voluntary, reason) = if customer.grievances > 0 {
            (true, "service")
        } else if index.is_multiple_of(4) {
            (false, "moved")
        } else {
            (true, "price")
        };
        let draft = contract_event(&self.contract_change(customer, event, Some(voluntary), Some(reason), Some(ends_ms)));
        self.emit_now(draft, "crm");
    }
}

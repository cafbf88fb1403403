"""The fixed words of a document, in each language that we have. A language is one complete ``Labels``.

``{}`` fields are filled by ``str.format``; every language has the same ones (a test holds that).
"""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Labels:
    """Every word that a document prints of itself. A missing one is a ``TypeError`` when this file is imported."""

    # Headings and states
    invoice: str
    credit_note: str
    statement: str
    draft: str
    draft_note: str
    paid: str
    void: str
    overdue: str
    # The head of a document
    number: str
    issue_date: str
    due_date: str
    period: str
    statement_date: str
    statement_period: str
    seller: str
    buyer: str
    buyer_reference: str
    credited_invoice: str
    purchase_order: str
    contract: str
    project: str
    # The headline
    amount_due: str
    amount_credited: str
    amount_paid: str
    balance_due: str
    balance_in_favour: str
    due_by: str
    paid_on: str
    of_which_overdue: str
    # Lines and totals
    description: str
    quantity: str
    unit: str
    unit_price: str
    amount: str
    subtotal: str
    total_before_tax: str
    total: str
    total_credited: str
    tax_on: str
    tax_contained: str
    credit_applied: str
    payments: str
    # Statement
    date: str
    reference: str
    charges: str
    credits: str
    balance: str
    opening_balance: str
    closing_balance: str
    entry_invoice: str
    entry_credit_note: str
    entry_payment: str
    entry_refund: str
    entry_adjustment: str
    due_short: str
    no_entries: str
    # Below the totals
    payment: str
    notes: str
    usage: str
    usage_total: str
    usage_highest: str
    usage_none: str
    reverse_charge: str
    exempt: str
    export: str
    outside_scope: str
    page: str


ENGLISH = Labels(
    invoice="Invoice",
    credit_note="Credit note",
    statement="Statement of account",
    draft="Draft",
    draft_note="This is a draft. It is not an invoice yet and need not be paid.",
    paid="Paid",
    void="Void",
    overdue="Overdue",
    number="Number",
    issue_date="Date of issue",
    due_date="Due date",
    period="Billing period",
    statement_date="Statement date",
    statement_period="Period",
    seller="From",
    buyer="Bill to",
    buyer_reference="Your reference",
    credited_invoice="Credits invoice",
    purchase_order="Purchase order",
    contract="Contract",
    project="Project",
    amount_due="Amount due",
    amount_credited="Amount credited",
    amount_paid="Amount paid",
    balance_due="Balance due",
    balance_in_favour="Balance in your favour",
    due_by="due by {date}",
    paid_on="paid on {date}",
    of_which_overdue="{amount} of it overdue",
    description="Description",
    quantity="Quantity",
    unit="Unit",
    unit_price="Unit price",
    amount="Amount",
    subtotal="Subtotal",
    total_before_tax="Total before tax",
    total="Total",
    total_credited="Total credited",
    tax_on="{tax} on {amount}",
    tax_contained="including {tax} on {amount}",
    credit_applied="Credit balance applied",
    payments="Payments received",
    date="Date",
    reference="Document",
    charges="Charges",
    credits="Credits",
    balance="Balance",
    opening_balance="Opening balance",
    closing_balance="Closing balance",
    entry_invoice="Invoice",
    entry_credit_note="Credit note",
    entry_payment="Payment",
    entry_refund="Refund",
    entry_adjustment="Adjustment",
    due_short="due {date}",
    no_entries="There were no documents and no payments in this period.",
    payment="Payment",
    notes="Notes",
    usage="Usage",
    usage_total="{total} in all",
    usage_highest="highest {value} on {date}",
    usage_none="no usage",
    reverse_charge="Reverse charge: the recipient of the supply is liable for the VAT.",
    exempt="This supply is exempt from tax.",
    export="Export of services: no tax is charged.",
    outside_scope="Outside the scope of tax: the place of supply is abroad.",
    page="Page {page} of {pages}",
)

GERMAN = Labels(
    invoice="Rechnung",
    credit_note="Rechnungskorrektur",
    statement="Kontoauszug",
    draft="Entwurf",
    draft_note="Dies ist ein Entwurf. Er ist noch keine Rechnung und nicht zu bezahlen.",
    paid="Bezahlt",
    void="Storniert",
    overdue="Überfällig",
    number="Nummer",
    issue_date="Rechnungsdatum",
    due_date="Fällig am",
    period="Leistungszeitraum",
    statement_date="Auszugsdatum",
    statement_period="Zeitraum",
    seller="Von",
    buyer="Rechnung an",
    buyer_reference="Ihre Referenz",
    credited_invoice="Zu Rechnung",
    purchase_order="Bestellnummer",
    contract="Vertrag",
    project="Projekt",
    amount_due="Zu zahlender Betrag",
    amount_credited="Gutgeschriebener Betrag",
    amount_paid="Bezahlter Betrag",
    balance_due="Offener Betrag",
    balance_in_favour="Guthaben",
    due_by="zahlbar bis {date}",
    paid_on="bezahlt am {date}",
    of_which_overdue="davon {amount} überfällig",
    description="Beschreibung",
    quantity="Menge",
    unit="Einheit",
    unit_price="Einzelpreis",
    amount="Betrag",
    subtotal="Zwischensumme",
    total_before_tax="Nettobetrag",
    total="Gesamtbetrag",
    total_credited="Gutschrift gesamt",
    tax_on="{tax} auf {amount}",
    tax_contained="enthält {tax} auf {amount}",
    credit_applied="Verrechnetes Guthaben",
    payments="Erhaltene Zahlungen",
    date="Datum",
    reference="Beleg",
    charges="Belastung",
    credits="Gutschrift",
    balance="Saldo",
    opening_balance="Anfangssaldo",
    closing_balance="Endsaldo",
    entry_invoice="Rechnung",
    entry_credit_note="Rechnungskorrektur",
    entry_payment="Zahlung",
    entry_refund="Erstattung",
    entry_adjustment="Berichtigung",
    due_short="fällig {date}",
    no_entries="In diesem Zeitraum gab es weder Belege noch Zahlungen.",
    payment="Zahlung",
    notes="Hinweise",
    usage="Nutzung",
    usage_total="insgesamt {total}",
    usage_highest="höchster Wert {value} am {date}",
    usage_none="keine Nutzung",
    reverse_charge="Steuerschuldnerschaft des Leistungsempfängers (Reverse Charge).",
    exempt="Diese Leistung ist von der Umsatzsteuer befreit.",
    export="Leistung an Empfänger im Drittland: ohne Umsatzsteuer.",
    outside_scope="Nicht steuerbar: der Leistungsort liegt im Ausland.",
    page="Seite {page} von {pages}",
)

FRENCH = Labels(
    invoice="Facture",
    credit_note="Avoir",
    statement="Relevé de compte",
    draft="Brouillon",
    draft_note="Ceci est un brouillon. Ce n’est pas encore une facture et rien n’est à payer.",
    paid="Payée",
    void="Annulée",
    overdue="En retard",
    number="Numéro",
    issue_date="Date d’émission",
    due_date="Date d’échéance",
    period="Période",
    statement_date="Date du relevé",
    statement_period="Période",
    seller="Émetteur",
    buyer="Facturé à",
    buyer_reference="Votre référence",
    credited_invoice="Facture concernée",
    purchase_order="Bon de commande",
    contract="Contrat",
    project="Projet",
    amount_due="Montant à payer",
    amount_credited="Montant crédité",
    amount_paid="Montant payé",
    balance_due="Solde à payer",
    balance_in_favour="Solde en votre faveur",
    due_by="à régler au plus tard le {date}",
    paid_on="payée le {date}",
    of_which_overdue="dont {amount} en retard",
    description="Désignation",
    quantity="Quantité",
    unit="Unité",
    unit_price="Prix unitaire",
    amount="Montant",
    subtotal="Sous-total",
    total_before_tax="Total hors taxes",
    total="Total",
    total_credited="Total de l’avoir",
    tax_on="{tax} sur {amount}",
    tax_contained="dont {tax} sur {amount}",
    credit_applied="Crédit imputé",
    payments="Paiements reçus",
    date="Date",
    reference="Pièce",
    charges="Débit",
    credits="Crédit",
    balance="Solde",
    opening_balance="Solde d’ouverture",
    closing_balance="Solde de clôture",
    entry_invoice="Facture",
    entry_credit_note="Avoir",
    entry_payment="Paiement",
    entry_refund="Remboursement",
    entry_adjustment="Régularisation",
    due_short="échéance {date}",
    no_entries="Aucune pièce et aucun paiement pendant cette période.",
    payment="Paiement",
    notes="Remarques",
    usage="Consommation",
    usage_total="{total} au total",
    usage_highest="maximum {value} le {date}",
    usage_none="aucune consommation",
    reverse_charge="Autoliquidation : la TVA est due par le preneur.",
    exempt="Opération exonérée de taxe.",
    export="Prestation à destination d’un pays tiers : aucune taxe n’est facturée.",
    outside_scope="Hors champ d’application : le lieu de prestation est à l’étranger.",
    page="Page {page} sur {pages}",
)

SPANISH = Labels(
    invoice="Factura",
    credit_note="Factura rectificativa",
    statement="Estado de cuenta",
    draft="Borrador",
    draft_note="Esto es un borrador. Todavía no es una factura y no hay que pagarlo.",
    paid="Pagada",
    void="Anulada",
    overdue="Vencida",
    number="Número",
    issue_date="Fecha de emisión",
    due_date="Fecha de vencimiento",
    period="Periodo de facturación",
    statement_date="Fecha del estado",
    statement_period="Periodo",
    seller="De",
    buyer="Facturar a",
    buyer_reference="Su referencia",
    credited_invoice="Rectifica la factura",
    purchase_order="Orden de compra",
    contract="Contrato",
    project="Proyecto",
    amount_due="Importe a pagar",
    amount_credited="Importe abonado",
    amount_paid="Importe pagado",
    balance_due="Saldo pendiente",
    balance_in_favour="Saldo a su favor",
    due_by="a pagar hasta el {date}",
    paid_on="pagada el {date}",
    of_which_overdue="{amount} ya vencidos",
    description="Descripción",
    quantity="Cantidad",
    unit="Unidad",
    unit_price="Precio unitario",
    amount="Importe",
    subtotal="Subtotal",
    total_before_tax="Base imponible",
    total="Total",
    total_credited="Total abonado",
    tax_on="{tax} sobre {amount}",
    tax_contained="incluye {tax} sobre {amount}",
    credit_applied="Saldo aplicado",
    payments="Pagos recibidos",
    date="Fecha",
    reference="Documento",
    charges="Cargos",
    credits="Abonos",
    balance="Saldo",
    opening_balance="Saldo inicial",
    closing_balance="Saldo final",
    entry_invoice="Factura",
    entry_credit_note="Factura rectificativa",
    entry_payment="Pago",
    entry_refund="Reembolso",
    entry_adjustment="Ajuste",
    due_short="vence {date}",
    no_entries="No hubo documentos ni pagos en este periodo.",
    payment="Pago",
    notes="Notas",
    usage="Consumo",
    usage_total="{total} en total",
    usage_highest="máximo {value} el {date}",
    usage_none="sin consumo",
    reverse_charge="Inversión del sujeto pasivo: el destinatario debe ingresar el IVA.",
    exempt="Operación exenta de impuestos.",
    export="Servicio a un país tercero: no se aplica impuesto.",
    outside_scope="No sujeta: el lugar de la prestación está en el extranjero.",
    page="Página {page} de {pages}",
)

LANGUAGES = {"en": ENGLISH, "de": GERMAN, "fr": FRENCH, "es": SPANISH}


def language_of(locale: str) -> str:
    """The language whose labels a locale gets: ``de_AT`` → ``de``; English where we have none."""
    code = locale.replace("-", "_").partition("_")[0].lower()
    return code if code in LANGUAGES else "en"

"""Texts of the lengths that news has, to time a device on and to compare precisions with."""

from typing import Final

PROBE: Final = (
    "Bank of England holds rates",
    "Copper slides to a six-month low as Chinese demand fades",
    "Northwind Airlines cuts full-year profit forecast, blames fuel costs and weak bookings",
    "Shares in Halden Pharma jump 18% after drug trial meets main goal",
    "Regulator fines lender $45 million over failures in its money-laundering controls",
    "Prime minister calls early election",
    "Morgan raises Lindt to buy, sees margin recovery",
    "The board proposes a dividend of EUR 0.85 per share, up from EUR 0.60 a year earlier",
    "Opinion: What the housing market tells us about the next decade",
    "Factory output shrinks for a third month. Orders fell at the fastest pace since 2020, a survey showed on Monday, "
    "and firms cut jobs.",
    "Chipmaker to buy software firm in $3.4 billion deal. The companies said they expect to close the transaction in "
    "the second half, subject to approval by regulators in the United States, Britain and China.",
    "Retailer files for bankruptcy protection. The chain, which employs 14,000 people in 320 shops, said it had run "
    "out of cash after suppliers asked to be paid in advance; administrators will look for buyers of its brands, and "
    "shops stay open for now. Lenders, two pension funds among them, are owed about 900 million pounds, papers show.",
)

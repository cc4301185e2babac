"""Schemas of shops, banks, and what they write down."""

# ruff: noqa: E501 (tables read better in one line a row)

from __future__ import annotations

from realistic.words import DAY, MOMENT, YES, Case, items, maybe, number, obj, one_of, ref, table, text, whole

MONEY = obj("amount currency", amount=number(minimum=0, multipleOf=0.01), currency=text(pattern="^[A-Z]{3}$"))
ADDRESS = obj(
    "street city country",
    street=text(minLength=1),
    city=text(),
    zip=text(pattern=r"^\S{1,12}$"),
    country=text(minLength=2, maxLength=2),
)
CASES = [
    Case(
        "invoice",
        obj("number issued lines total", number=text(pattern=r"^INV-\d{4,8}$"), issued=DAY, due=maybe(DAY), seller=ref("Party"), buyer=ref("Party"),
            lines=items(ref("Line"), minItems=1), total=ref("Money"), notes=text()) | {"$defs": {"Money": MONEY, "Party": obj("name", name=text(), vat=maybe(text()), address=ref("Address")), "Address": ADDRESS, "Line": obj("text quantity price", text=text(), quantity=number(exclusiveMinimum=0), price=ref("Money"))}},
        [{"number": "INV-2041", "issued": "2026-01-31", "lines": [{"text": "Paper", "quantity": 2, "price": {"amount": 4.5, "currency": "CHF"}}], "total": {"amount": 9, "currency": "CHF"}},
         {"number": "INV-204177", "issued": "2026-01-31", "due": "2026-02-28", "seller": {"name": "A", "address": {"street": "x 1", "city": "B", "country": "CH"}}, "lines": [{"text": "P", "quantity": 0.5, "price": {"amount": 0, "currency": "EUR"}}], "total": {"amount": 0, "currency": "EUR"}, "notes": ""}],
        [{}, {"number": "2041", "issued": "2026-01-31", "lines": [], "total": {"amount": 9, "currency": "CHF"}}, {"number": "INV-2041", "issued": "31.1.2026", "lines": [{"text": "P", "quantity": 1, "price": {"amount": 1, "currency": "CHF"}}], "total": {"amount": 9, "currency": "CHF"}},
         {"number": "INV-2041", "issued": "2026-01-31", "lines": [{"text": "P", "quantity": 0, "price": {"amount": 1, "currency": "CHF"}}], "total": {"amount": 9, "currency": "CHF"}}],
    ),
    Case(
        "product",
        obj("sku title price tags", sku=text(pattern="^[A-Z0-9-]{3,20}$"), title=text(maxLength=200), price=number(exclusiveMinimum=0), tags=items(text(), uniqueItems=True), stock=table(whole(minimum=0)), size=maybe(obj("*", width=number(), height=number()))),
        [{"sku": "AB-1", "title": "A mug", "price": 9.9, "tags": ["kitchen"]}, {"sku": "AB-1", "title": "", "price": 1, "tags": [], "stock": {"Bern": 3, "Biel": 0}, "size": {"width": 1, "height": 2.5}}],
        [{"sku": "ab", "title": "x", "price": 1, "tags": []}, {"sku": "AB-1", "title": "x", "price": 0, "tags": []}, {"sku": "AB-1", "title": "x", "price": 1, "tags": ["a", "a"]}, {"sku": "AB-1", "title": "x", "price": 1, "tags": [], "stock": {"Bern": -1}}],
    ),
    Case(
        "payment",
        {"type": "object", "properties": {"id": text(), "method": {"oneOf": [ref("Card"), ref("Transfer"), ref("Cash")]}}, "required": ["id", "method"], "additionalProperties": False, "$defs": {
            "Card": obj("kind last4 until", kind={"const": "card"}, last4=text(pattern=r"^\d{4}$"), until=text(pattern=r"^\d\d/\d\d$")),
            "Transfer": obj("kind iban", kind={"const": "transfer"}, iban=text(minLength=15, maxLength=34), reference=maybe(text())),
            "Cash": obj("kind", kind={"const": "cash"}, given=number())}},
        [{"id": "1", "method": {"kind": "card", "last4": "0042", "until": "11/28"}}, {"id": "1", "method": {"kind": "transfer", "iban": "CH9300762011623852957"}}, {"id": "1", "method": {"kind": "cash", "given": 20}}],
        [{"id": "1", "method": {"kind": "card", "iban": "CH9300762011623852957"}}, {"id": "1", "method": {"kind": "barter"}}, {"id": "1"}, {"id": "1", "method": {"kind": "card", "last4": "42", "until": "11/28"}}],
    ),
    Case(
        "order",
        obj("id placed status", id=text(format="uuid"), placed=MOMENT, status=one_of("new", "paid", "sent", "back"), customer=obj("email", email=text(format="email"), phone=maybe(text())), history=items({"type": "array", "prefixItems": [MOMENT, text()], "items": False, "minItems": 2})),
        [{"id": "3f2b8c1e-6f1d-4f0a-9a53-2f0c4b1d7e88", "placed": "2026-03-01T10:00:00Z", "status": "paid"}, {"id": "3f2b8c1e-6f1d-4f0a-9a53-2f0c4b1d7e88", "placed": "2026-03-01T10:00:00+01:00", "status": "new", "customer": {"email": "a@b.ch"}, "history": [["2026-03-01T10:00:00Z", "placed"]]}],
        [{"id": "42", "placed": "2026-03-01T10:00:00Z", "status": "paid"}, {"id": "3f2b8c1e-6f1d-4f0a-9a53-2f0c4b1d7e88", "placed": "yesterday", "status": "paid"}, {"id": "3f2b8c1e-6f1d-4f0a-9a53-2f0c4b1d7e88", "placed": "2026-03-01T10:00:00Z", "status": "lost"}, {"id": "3f2b8c1e-6f1d-4f0a-9a53-2f0c4b1d7e88", "placed": "2026-03-01T10:00:00Z", "status": "new", "history": [["2026-03-01T10:00:00Z"]]}],
    ),
    Case(
        "contact, by mail or by phone",
        {"type": "object", "properties": {"name": text(), "email": maybe(text(format="email")), "phone": maybe(text())}, "required": ["name"], "anyOf": [{"required": ["email"]}, {"required": ["phone"]}], "additionalProperties": False},
        [{"name": "Ada", "email": "a@b.ch"}, {"name": "Ada", "phone": "1"}, {"name": "Ada", "email": "a@b.ch", "phone": "1"}],
        [{"name": "Ada"}, {"email": "a@b.ch"}, {"name": "Ada", "email": 5}],
    ),
    Case(
        "discount, by one of two ways",
        {"type": "object", "properties": {"code": text(), "percent": maybe(number(minimum=0, maximum=100)), "amount": maybe(number(minimum=0))}, "required": ["code"], "oneOf": [{"required": ["percent"]}, {"required": ["amount"]}], "additionalProperties": False},
        [{"code": "X", "percent": 10}, {"code": "X", "amount": 5}],
        [{"code": "X"}, {"code": "X", "percent": 10, "amount": 5}, {"code": "X", "percent": 101}],
    ),
    Case(
        "bank statement",
        obj("iban balance bookings", iban=text(), balance=number(), bookings=items(obj("day amount", day=DAY, amount=number(), text=maybe(text()), category=maybe(one_of("food", "rent", "other"))))),
        [{"iban": "x", "balance": -1.5, "bookings": []}, {"iban": "x", "balance": 0, "bookings": [{"day": "2026-01-01", "amount": -3, "text": "bread", "category": "food"}, {"day": "2026-01-02", "amount": 3}]}],
        [{"iban": "x", "balance": "0", "bookings": []}, {"iban": "x", "balance": 0, "bookings": [{"day": "2026-13-01", "amount": 1}]}, {"iban": "x", "balance": 0, "bookings": [{"day": "2026-01-01", "amount": 1, "category": "fun"}]}],
    ),
    Case(
        "shipment",
        obj("carrier parcels", carrier=text(), parcels=items(obj("weight size", weight=number(exclusiveMinimum=0, maximum=30), size={"type": "array", "items": number(exclusiveMinimum=0), "minItems": 3, "maxItems": 3}), minItems=1, maxItems=20), insured=YES, signature=maybe(YES)),
        [{"carrier": "post", "parcels": [{"weight": 1.5, "size": [10, 20, 30]}]}, {"carrier": "post", "parcels": [{"weight": 30, "size": [1, 1, 1]}], "insured": True, "signature": False}],
        [{"carrier": "post", "parcels": []}, {"carrier": "post", "parcels": [{"weight": 31, "size": [1, 1, 1]}]}, {"carrier": "post", "parcels": [{"weight": 1, "size": [1, 1]}]}],
    ),
    Case(
        "prices of a day",
        obj("day prices", day=DAY, prices=table(table(number(minimum=0)), minProperties=1)),
        [{"day": "2026-01-01", "prices": {"CHF": {"bread": 4.2}}}, {"day": "2026-01-01", "prices": {"CHF": {}, "EUR": {"milk": 1}}}],
        [{"day": "2026-01-01", "prices": {}}, {"day": "2026-01-01", "prices": {"CHF": {"bread": "4.2"}}}],
    ),
    Case(
        "insurance claim",
        obj("policy event", policy=text(pattern=r"^[A-Z]{2}\d{6}$"), event={"anyOf": [obj("kind plate", kind={"const": "car"}, plate=text(), injured=whole(minimum=0)), obj("kind cause", kind={"const": "fire"}, cause=one_of("lightning", "stove", "unknown"))]}, photos=items(text(format="uri"))),
        [{"policy": "CH123456", "event": {"kind": "car", "plate": "BE 1", "injured": 0}}, {"policy": "CH123456", "event": {"kind": "fire", "cause": "stove"}, "photos": ["https://x.y/z.png"]}],
        [{"policy": "CH1", "event": {"kind": "car", "plate": "BE 1"}}, {"policy": "CH123456", "event": {"kind": "fire"}}, {"policy": "CH123456", "event": {"kind": "fire", "cause": "stove"}, "photos": ["no uri at all"]}],
    ),
]  # fmt: skip

"""Parameters: what the pinned version does not know, or knows otherwise, is refused before anything runs."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.stripe_sync.offline.parameters import checked
from nbilling.stripe_sync.offline.routes import ROUTES
from nbilling.stripe_sync.offline.wire import ApiError, decode_form


def test_values_get_their_types() -> None:
    form = "customer=cus_1&items[0][price]=p&items[0][quantity]=2&cancel_at_period_end=true&trial_end=now&metadata[0]=x"
    assert checked(decode_form(form), "SubscriptionCreateParams") == {
        "customer": "cus_1",
        "items": [{"price": "p", "quantity": 2}],
        "cancel_at_period_end": True,
        "trial_end": "now",
        "metadata": {"0": "x"},
    }
    assert checked(decode_form("expand[]=a&expand[]=b"), "CustomerRetrieveParams") == {"expand": ["a", "b"]}
    assert checked(decode_form("metadata=&address="), "CustomerUpdateParams") == {"metadata": "", "address": ""}
    assert checked(decode_form("created[gte]=5"), "EventListParams") == {"created": {"gte": 5}}
    assert checked(decode_form("created=5"), "EventListParams") == {"created": 5}


@pytest.mark.parametrize(
    "form,params,param,code",
    [
        ("foo=1", "CustomerCreateParams", "foo", "parameter_unknown"),
        ("api_key=1", "CustomerCreateParams", "api_key", "parameter_unknown"),
        ("address[foo]=1", "CustomerCreateParams", "address[foo]", "parameter_unknown"),
        ("items[0][foo]=1", "SubscriptionCreateParams", "items[0][foo]", "parameter_unknown"),
        ("unit_amount=1.5&currency=usd", "PriceCreateParams", "unit_amount", "parameter_invalid_integer"),
        ("unit_amount=1e3&currency=usd", "PriceCreateParams", "unit_amount", "parameter_invalid_integer"),
        ("unit_amount=１&currency=usd", "PriceCreateParams", "unit_amount", "parameter_invalid_integer"),
        ("unit_amount=1", "PriceCreateParams", "currency", "parameter_missing"),
        ("product_data[x]=1&currency=usd", "PriceCreateParams", "product_data[x]", "parameter_unknown"),
        ("auto_advance=yes", "InvoiceCreateParams", "auto_advance", "parameter_invalid_boolean"),
        ("collection_method=x", "InvoiceCreateParams", "collection_method", "parameter_invalid_enum"),
        ("email[a]=x", "CustomerCreateParams", "email", "parameter_invalid_string"),
        ("subscription=sub_1", "InvoicePayParams", "subscription", "parameter_unknown"),
        ("plan=x", "SubscriptionUpdateParams", "plan", "parameter_unknown"),
    ],
)
def test_what_the_version_does_not_know_is_refused(form: str, params: str, param: str, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        checked(decode_form(form), params)
    told = caught.value.body["error"]
    assert (caught.value.status, told["param"], told["code"], caught.value.kept) == (400, param, code, False)


@pytest.mark.parametrize("form", ["a=%ff", "a=b&&c", "a[b=c", "[a]=b", "=x", "a[" + "b][" * 20 + "]=1", "a=1&a[b]=2",
                                  "&".join(f"a{n}=1" for n in range(2000))])  # fmt: skip
def test_a_form_that_cannot_be_decoded_is_an_error_of_the_api(form: str) -> None:
    with pytest.raises(ApiError) as caught:
        decode_form(form)
    assert caught.value.status == 400


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,9}(\[[a-z0-9]{0,3}\]){0,4}", fullmatch=True), st.text(max_size=9), max_size=6
    )
)
def test_any_form_is_read_or_refused(fields: dict[str, str]) -> None:
    from urllib.parse import urlencode

    for params in ("CustomerCreateParams", "SubscriptionCreateParams", "EventListParams"):
        with contextlib.suppress(ApiError):
            assert isinstance(checked(decode_form(urlencode(fields)), params), dict)


def test_every_endpoint_acts_on_parameters_that_its_version_knows() -> None:
    import stripe.params

    for route in ROUTES:
        known = set(getattr(stripe.params, route.params).__annotations__)
        assert route.acts_on - known <= {"expand"}, route.pattern.pattern

"""The app: `sweetspot app`, or `streamlit run app.py`."""

import streamlit as st
from starlette.middleware import Middleware

from pages import start
from pages.server.bounds import Bounds
from pages.server.doors import Doors
from pages.server.operators import Operators
from pages.server.packed import Packed
from pages.server.visitors import OwnKey

app = st.App(
    "pages/router.py", lifespan=start.warm_up,
    middleware=[Middleware(one) for one in (Doors, Operators, Packed, Bounds, OwnKey)],
    on_script_error=start.explain,
)

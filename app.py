"""Starts the app: `streamlit run app.py`."""

import streamlit as st
from starlette.middleware import Middleware

from pages import parts
from pages.visitors import OwnKey

app = st.App("pages/router.py", middleware=[Middleware(OwnKey)], on_script_error=parts.explain)

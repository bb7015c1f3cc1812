"""Starts the app: `streamlit run app.py`."""

import streamlit as st

from pages import parts

app = st.App("pages/router.py", on_script_error=parts.explain)

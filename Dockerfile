# The app as a server, for compose.yaml in assets/deploy: docker build -t sweetspot .
FROM python:3.11.9-slim
WORKDIR /app
COPY requirements.txt requirements.lock ./
# torch for processors: a tenth of the size of the build for GPUs, and a planner needs no more.
RUN pip install --no-cache-dir --require-hashes --no-deps -r requirements.lock \
 && pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu "$(grep ^torch== requirements.txt)"
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
 && useradd --system --uid 10001 --no-create-home sweetspot
USER 10001
ENV SWEETSPOT_DATA=/tmp/sweetspot HOME=/tmp PYTHONDONTWRITEBYTECODE=1
EXPOSE 8501
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
CMD ["sweetspot", "app", "--address", "0.0.0.0", "--port", "8501"]

DJANGO_SETTINGS_MODULE=settings django-admin sendtestemail --pythonpath . bob@example.org

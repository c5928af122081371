"""The addresses of the school."""

from django.contrib import admin
from django.urls import path

from escola.views import matricular

urlpatterns = [path("alunos", matricular), path("admin/", admin.site.urls)]

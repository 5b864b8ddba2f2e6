/** @file The shell of the page: its name, the views and which of them is shown, the device, and what went wrong. */
import type { ComponentType } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { announce, memory, search, usePage, type DeviceState } from './state.js';
import { GenerateView } from './views/generate.js';
import { ModelsView } from './views/models.js';
import { lazily } from './views/parts/lazily.js';
import { LostDevice, NoDevice } from './views/parts/no-device.js';
import { TrainView } from './views/train.js';

const MemoryView = lazily(async () => (await import('./views/memory/memory-view.js')).MemoryView);
const SearchView = lazily(async () => (await import('./views/search/search-view.js')).SearchView);

interface View {
  readonly hash: string;
  readonly title: string;
  readonly view: ComponentType;
}

/** In the order of the navigation. A further view is a line here. */
const VIEWS: readonly View[] = [
  { hash: '#train', title: 'Train', view: TrainView },
  { hash: '#generate', title: 'Generate', view: GenerateView },
  { hash: '#memory', title: 'Memory', view: () => <MemoryView store={memory} hasModel={usePage().model !== null} /> },
  { hash: '#search', title: 'Search', view: () => <SearchView store={search} /> },
  { hash: '#models', title: 'Models', view: ModelsView },
];

const viewOf = (hash: string): View => VIEWS.find((view) => view.hash === hash) ?? VIEWS[0]!;

/** The view that the address names. */
function useView(): View {
  const [view, setView] = useState(() => viewOf(location.hash));
  useEffect(() => {
    const follow = (): void => setView(viewOf(location.hash));
    addEventListener('hashchange', follow);
    return () => removeEventListener('hashchange', follow);
  }, []);
  return view;
}

export function App() {
  const { device, announcement, error } = usePage();
  const { hash, title, view: Current } = useView();
  const lost = device.kind === 'ready' ? device.lost : null;
  // The view comes in the next task, behind the shell.
  const [isShellDrawn, setShellDrawn] = useState(false);
  useEffect(() => void setTimeout(() => setShellDrawn(true)), []);
  useEffect(() => {
    document.title = `${title} · xLSTM playground`;
  }, [title]);
  return (
    <>
      <a class="skip" href="#main" onClick={skipToMain}>
        Skip to the content
      </a>
      <header class="top">
        <p class="name">
          <strong>xLSTM</strong> playground
        </p>
        <nav aria-label="Views">
          {VIEWS.map((view) => (
            <a key={view.hash} href={view.hash} aria-current={view.hash === hash ? 'page' : undefined}>
              {view.title}
            </a>
          ))}
        </nav>
        <DeviceLine device={device} />
      </header>
      <main id="main" tabIndex={-1}>
        <h1 class="unseen">{title}</h1>
        {lost !== null && <LostDevice message={lost} />}
        {error !== null && error !== lost && device.kind !== 'none' && (
          <div class="alert" role="alert">
            <p>{error}</p>
            <button type="button" class="quiet" onClick={() => announce('')}>
              Dismiss
            </button>
          </div>
        )}
        {device.kind === 'none' ? <NoDevice {...device} /> : isShellDrawn && <Current />}
      </main>
      <p class="unseen" role="status" aria-live="polite">
        {announcement}
      </p>
    </>
  );
}

/** The hash names the view, so the link moves the focus itself. */
function skipToMain(event: Event): void {
  event.preventDefault();
  document.querySelector<HTMLElement>('#main')?.focus();
}

function DeviceLine({ device }: { device: DeviceState }) {
  if (device.kind === 'opening') return <p class="device">Opening the GPU…</p>;
  if (device.kind === 'none' || device.lost !== null) return <p class="device none">No GPU</p>;
  const { description, isSoftware } = device;
  return (
    <p class={`device ${isSoftware ? 'slow' : 'ready'}`} title={description}>
      <span class="unseen">GPU: </span>
      <span>
        {shortName(description)}
        {isSoftware && <span class="spacious">, in software</span>}
        {isSoftware && ': slow'}
      </span>
    </p>
  );
}

/** "google swiftshader" of "google swiftshader, SwiftShader driver 5.0.0, in software". */
const shortName = (description: string): string => description.split(',')[0]!;
